package egress

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// Options tunes a client. The zero value is fit for production.
type Options struct {
	// MaxConnsPerHost bounds the connections to one host, those being dialled
	// included; a request beyond it waits for its turn until its deadline.
	// 0 is no bound.
	MaxConnsPerHost int
	// MaxIdleConnsPerHost is how many unused connections to one host are kept
	// for the next request. 0 is 256: fewer than the requests at once to a
	// busy receiver means a handshake for many of them.
	MaxIdleConnsPerHost int
	// MaxIdleConns is how many unused connections are kept in all. 0 is 1024.
	MaxIdleConns int
	// IdleTimeout is how long an unused connection is kept. 0 is 90 s.
	IdleTimeout time.Duration
	// DialTimeout bounds name resolution and connecting. 0 is 10 s.
	DialTimeout time.Duration
	// RootCAs are the authorities trusted. nil is those of the system.
	RootCAs *x509.CertPool
	// Resolver looks up names. nil is the system's.
	Resolver *net.Resolver
}

func (o Options) withDefaults() Options {
	if o.MaxIdleConnsPerHost == 0 {
		o.MaxIdleConnsPerHost = 256
	}
	if o.MaxIdleConns == 0 {
		o.MaxIdleConns = 1024
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 90 * time.Second
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	return o
}

// maxResponseHeader bounds the header of an answer, in bytes.
const maxResponseHeader = 64 << 10

// Client returns a client whose every request and connection g has judged.
// What it refuses is a *[Refused] inside the request's error. It uses no
// proxy, whatever the environment says, because a proxy would resolve the name
// itself; it follows no redirects, asks for no compression, keeps no cookies,
// and has no time-out of its own: the request's context is the deadline.
// Close it with CloseIdleConnections.
func (g *Guard) Client(opts Options) *http.Client {
	opts = opts.withDefaults()
	dialer := &net.Dialer{
		Timeout:  opts.DialTimeout,
		Control:  g.Control,
		Resolver: opts.Resolver,
	}
	transport := &http.Transport{
		Proxy:       nil,
		DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            opts.RootCAs,
			ClientSessionCache: tls.NewLRUClientSessionCache(opts.MaxIdleConns),
		},
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true,
		MaxIdleConns:           opts.MaxIdleConns,
		MaxIdleConnsPerHost:    opts.MaxIdleConnsPerHost,
		MaxConnsPerHost:        opts.MaxConnsPerHost,
		IdleConnTimeout:        opts.IdleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		ForceAttemptHTTP2:      true,
		// A connection that many requests share must not stay in use when its
		// peer is gone without a word.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	return &http.Client{
		Transport:     &guarded{guard: g, transport: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// guarded refuses requests by their URL before they reach the transport.
type guarded struct {
	guard     *Guard
	transport *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.guard.checkScheme(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper closes the body on every path; its error changes nothing here
		}
		return nil, err
	}
	return t.transport.RoundTrip(r)
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (t *guarded) CloseIdleConnections() { t.transport.CloseIdleConnections() }
