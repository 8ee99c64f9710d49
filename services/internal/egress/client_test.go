package egress_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/prosa-chat/prosa/services/internal/egress"
)

// resolver returns a resolver whose every question for an IPv4 address is
// answered by answer, which may say something else each time.
func resolver(answer func() []netip.Addr) *net.Resolver {
	return resolverOf(func(asked dnsmessage.Type) []netip.Addr {
		if asked != dnsmessage.TypeA {
			return nil
		}
		return answer()
	})
}

// resolverOf returns a resolver whose every question is answered by answer,
// with addresses of the family that is asked for.
func resolverOf(answer func(asked dnsmessage.Type) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go serveDNS(far, answer)
		return near, nil
	}}
}

// serveDNS answers the questions on conn, which is framed as DNS over TCP.
func serveDNS(conn net.Conn, answer func(asked dnsmessage.Type) []netip.Addr) {
	defer func() { _ = conn.Close() }()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		var message dnsmessage.Message
		if err := message.Unpack(query); err != nil {
			return
		}
		message.Response, message.Additionals = true, nil
		question := message.Questions[0]
		for _, addr := range answer(question.Type) {
			record := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}}
			if addr.Is4() {
				record.Body = &dnsmessage.AResource{A: addr.As4()}
			} else {
				record.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
			}
			message.Answers = append(message.Answers, record)
		}
		reply, err := message.AppendPack(size[:])
		if err != nil {
			return
		}
		binary.BigEndian.PutUint16(reply, uint16(len(reply)-2))
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

// listen starts a server on address and counts the connections it gets.
func listen(t *testing.T, address string, handler http.HandlerFunc) (port string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp4", address)
	require.NoError(t, err)
	connections = &atomic.Int64{}
	server := httptest.NewUnstartedServer(handler)
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	_, port, err = net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port, connections
}

func get(t *testing.T, client *http.Client, url string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := client.Do(request)
	if err == nil {
		_, copyErr := io.Copy(io.Discard, response.Body)
		require.NoError(t, copyErr)
		require.NoError(t, response.Body.Close())
	}
	return response, err
}

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func newClient(t *testing.T, guard *egress.Guard, opts egress.Options) *http.Client {
	client := guard.Client(opts)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestClientRefusesTheDialledAddress(t *testing.T) {
	port, connections := listen(t, "127.0.0.1:0", ok)
	client := newClient(t, egress.NewGuard(nil, true), egress.Options{})
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		_, err := get(t, client, "http://"+host+":"+port)
		requireRefused(t, err, egress.ReasonAddress)
	}
	require.Zero(t, connections.Load())

	client = newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), true), egress.Options{})
	_, err := get(t, client, "http://127.0.0.1:"+port)
	require.NoError(t, err)
	require.EqualValues(t, 1, connections.Load(), "the canary does see what is let through")
}

// TestRebinding has a name resolve to a fit address first and to an inner one
// next. 127.0.0.2, which is allowed, stands for the public address.
func TestRebinding(t *testing.T) {
	port, fit := listen(t, "127.0.0.2:0", ok)
	_, canary := listen(t, "127.0.0.1:"+port, ok)
	var lookups atomic.Int64
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.2/32"), true), egress.Options{Resolver: resolver(func() []netip.Addr {
		if lookups.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})})

	_, err := get(t, client, "http://rebind.example:"+port)
	require.NoError(t, err)
	client.CloseIdleConnections()
	_, err = get(t, client, "http://rebind.example:"+port)
	requireRefused(t, err, egress.ReasonAddress)
	require.EqualValues(t, 2, lookups.Load())
	require.EqualValues(t, 1, fit.Load())
	require.Zero(t, canary.Load())
}

func TestNameWithAnInnerAddressAmongOthers(t *testing.T) {
	port, fit := listen(t, "127.0.0.2:0", ok)
	_, canary := listen(t, "127.0.0.1:"+port, ok)
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.2/32"), true), egress.Options{Resolver: resolver(func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
	})})
	_, err := get(t, client, "http://both.example:"+port)
	require.NoError(t, err)
	require.EqualValues(t, 1, fit.Load())
	require.Zero(t, canary.Load())
}

// The proxy is the one of TestMain. The name matters: no proxy is ever used
// for loopback addresses.
func TestClientIgnoresProxiesOfTheEnvironment(t *testing.T) {
	port, direct := listen(t, "127.0.0.1:0", ok)
	names := resolver(func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), true), egress.Options{Resolver: names})
	_, err := get(t, client, "http://hook.example:"+port)
	require.NoError(t, err)
	require.EqualValues(t, 1, direct.Load())

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://hook.example", nil)
	require.NoError(t, err)
	proxy, err := http.ProxyFromEnvironment(request)
	require.NoError(t, err)
	require.NotNil(t, proxy, "the environment does name a proxy")
}

func TestClientFollowsNoRedirect(t *testing.T) {
	canaryPort, canary := listen(t, "127.0.0.1:0", ok)
	port, _ := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:"+canaryPort+"/", http.StatusTemporaryRedirect)
	})
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), true), egress.Options{})
	response, err := get(t, client, "http://127.0.0.1:"+port)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, response.StatusCode)
	require.Zero(t, canary.Load())
}

func TestClientRefusesSchemeAndUserInfoOnEveryRequest(t *testing.T) {
	port, connections := listen(t, "127.0.0.1:0", ok)
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), false), egress.Options{})
	body := &closed{Reader: strings.NewReader("{}")}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+port, body)
	require.NoError(t, err)
	response, err := client.Do(request)
	if response != nil {
		require.NoError(t, response.Body.Close())
	}
	requireRefused(t, err, egress.ReasonScheme)
	require.True(t, body.closed.Load())
	_, err = get(t, client, "https://user@127.0.0.1:"+port)
	requireRefused(t, err, egress.ReasonUserInfo)
	require.Zero(t, connections.Load())
}

type closed struct {
	io.Reader
	closed atomic.Bool
}

func (c *closed) Close() error { c.closed.Store(true); return nil }

func TestClientReusesConnections(t *testing.T) {
	port, connections := listen(t, "127.0.0.1:0", ok)
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), true), egress.Options{MaxConnsPerHost: 4})
	for range 10 {
		_, err := get(t, client, "http://127.0.0.1:"+port)
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, connections.Load())

	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if _, err := get(t, client, "http://127.0.0.1:"+port); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, connections.Load(), int64(4), "MaxConnsPerHost bounds the connections")
}

func TestClientSpeaksHTTP2AndChecksCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		w.Header().Set("X-Encoding", r.Header.Get("Accept-Encoding"))
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	guard := egress.NewGuard(prefixes("127.0.0.1/32"), false)
	trusting := newClient(t, guard, egress.Options{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	response, err := get(t, trusting, server.URL)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", response.Header.Get("X-Proto"))
	require.Empty(t, response.Header.Get("X-Encoding"))
	require.GreaterOrEqual(t, response.TLS.Version, uint16(tls.VersionTLS12))

	_, err = get(t, newClient(t, guard, egress.Options{}), server.URL)
	require.ErrorContains(t, err, "certificate")
}

func TestClientRefusesOldTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.StartTLS()
	t.Cleanup(server.Close)
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), false), egress.Options{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	_, err := get(t, client, server.URL)
	require.ErrorContains(t, err, "tls:")
}
