// Package mtls is mutual TLS between roles: each shows a certificate of one private authority and wants to see one of it. Files that are
// replaced while it runs count from the next connection on.
package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/credentials"
)

// Files are the PEM files of one role.
type Files struct {
	// Cert and Key are the role's own certificate chain and private key. Its names must be those that others dial.
	Cert, Key string
	// CA is the authority, or authorities, whose certificates the other roles show.
	CA string
}

// Set reports whether all three files are named. Some without the others is an error of whoever configures.
func (f Files) Set() bool { return f.Cert != "" && f.Key != "" && f.CA != "" }

// Check says that the files are all named, or none.
func (f Files) Check() error {
	if !f.Set() && f != (Files{}) {
		return errors.New("mutual TLS needs a certificate, a key and a CA together")
	}
	return nil
}

// Server is for the side that is dialled. A client that shows no certificate may connect, as the public calls want a key and no
// certificate; one that shows a wrong certificate may not. Verified tells them apart. TLS 1.3 only.
func (f Files) Server() (credentials.TransportCredentials, error) {
	return f.reload(func(certificate tls.Certificate, authorities *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{certificate},
			ClientAuth:   tls.VerifyClientCertIfGiven,
			ClientCAs:    authorities,
		}
	})
}

// Client is for the side that dials. serverName is the name to find in the other's certificate; empty means the dialled one.
func (f Files) Client(serverName string) (credentials.TransportCredentials, error) {
	return f.reload(func(certificate tls.Certificate, authorities *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{certificate},
			RootCAs:      authorities,
			ServerName:   serverName,
		}
	})
}

// Verified reports whether the peer showed a certificate of the authority.
func Verified(info credentials.AuthInfo) bool {
	tlsInfo, ok := info.(credentials.TLSInfo)
	return ok && len(tlsInfo.State.VerifiedChains) > 0
}

func (f Files) load() (tls.Certificate, *x509.CertPool, error) {
	certificate, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("load TLS certificate and key: %w", err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("read TLS authority: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return tls.Certificate{}, nil, fmt.Errorf("read TLS authority: no certificate in %s", f.CA)
	}
	return certificate, authorities, nil
}
