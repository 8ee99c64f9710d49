package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// soon is how long before its end a certificate should have been renewed.
const soon = 14 * 24 * time.Hour

// sight is what is seen of the first TLS handshake. The transport reports from
// goroutines of its own.
type sight struct {
	mu        sync.Mutex
	tried     bool
	version   uint16
	presented *x509.Certificate // the receiver's own
	err       error
}

func (s *sight) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{TLSHandshakeDone: s.handshake}
}

func (s *sight) handshake(state tls.ConnectionState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried {
		return
	}
	s.tried, s.err = true, err
	presented := state.PeerCertificates
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		presented = unverified.UnverifiedCertificates
	}
	if len(presented) > 0 {
		s.presented = presented[0]
	}
	if err == nil {
		s.version = state.Version
	}
}

// tls is what is reported; nil without a handshake.
func (s *sight) tls() *Encryption {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tried {
		return nil
	}
	encryption := &Encryption{Version: s.version}
	if s.presented != nil {
		encryption.ExpireTime, encryption.Issuer = s.presented.NotAfter.UTC(), printable(s.presented.Issuer.String())
	}
	return encryption
}

// printable makes text for people of what a stranger chose.
func printable(text string) string {
	const most = 256 // bytes; the names of real issuers are shorter
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// judge says what to mend about the encryption.
func (s *sight) judge(now time.Time, encrypted bool) (Verdict, string) {
	if !encrypted {
		return Warned, "Plain http: everybody on the way can read the messages, and change them. Use https."
	}
	seen := s.tls()
	switch {
	case seen == nil:
		return Skipped, "Not seen: no connection was made."
	case seen.Version == 0:
		return Failed, "The connection could not be encrypted: " + s.cause()
	case seen.ExpireTime.Sub(now) < soon:
		return Warned, fmt.Sprintf("The certificate is valid until %s only: renew it.", seen.ExpireTime.Format(time.RFC3339))
	}
	return Passed, ""
}

// cause is why the handshake failed.
func (s *sight) cause() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.As(s.err, &host):
		return "the certificate is for another host name."
	case errors.As(s.err, &authority):
		return "no authority that is trusted vouches for the certificate. Send the intermediate certificates too."
	case errors.As(s.err, &invalid) && invalid.Reason == x509.Expired && s.presented != nil:
		return fmt.Sprintf("the certificate is valid from %s to %s only.",
			s.presented.NotBefore.UTC().Format(time.RFC3339), s.presented.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(s.err, &invalid):
		return "the certificate is not one for servers."
	}
	return "the server speaks neither TLS 1.2 nor TLS 1.3."
}
