package egress_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/prosa-chat/prosa/services/internal/egress"
)

// spellings are hosts that some program or other takes for an address inside.
var spellings = map[string][]string{
	"loopback": {
		"127.0.0.1", "127.0.0.1.", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "0x7f.1", "0X7F.1", "0x7f.0x0.0x0.0x1", "0x7f000001", "0x7F000001.",
		"0177.1", "0177.0.0.1", "0177.0.0.01", "00000177.0.0.1", "017700000001", "2130706433", "02130706433", "2130706433.", "127.0x1", "0x7f.0.01",
		"127.0.0.0x1", "127.0.0.1.0", "4294967297", "18446744073709551617",
	},
	"loopback, IPv6": {
		"[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]",
		"[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
		"[2002:7f00:1::1]", "[::1%25lo]", "[::1%251]", "[fe80::1%25lo]", "::1", "::ffff:7f00:1", "[::1", "::1]", "[[::1]]",
		"[127.0.0.1]", "[::ffff:0x7f.1]",
	},
	"unspecified": {"0.0.0.0", "0", "00", "0x0", "0.0.0.0.", "[::]", "[0:0:0:0:0:0:0:0]", "[::ffff:0.0.0.0]", "0.1.2.3"},
	"inner": {
		"10.0.0.1", "012.0.0.1", "167772161", "172.16.0.1", "192.168.0.1", "0300.0250.0.1", "100.64.0.1", "100.127.255.255", "169.254.1.1", "[fe80::]", "[fe80::1]",
		"[fc00::]", "[fc00::1]", "[fdff::1]", "[fec0::1]", "198.18.0.1", "224.0.0.1", "[ff02::1]", "255.255.255.255",
	},
	"metadata": {
		"169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]",
		"[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fd00:ec2::254]", "168.63.129.16", "2822734096", "0xa83f8110", "[::ffff:168.63.129.16]",
		"100.100.100.200", "192.0.0.192",
	},
	"names": {
		"localhost", "LocalHost", "localhost.", "localhost.localdomain", "localhost.localdomain.", "x.localhost", "127.0.0.1.localhost", "ip6-localhost", "ip6-loopback.",
		"localhost6", "..localhost", "localhost..", ".",
	},
	"Unicode": {
		"１２７.０.０.１", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost。", "loc\u00adalhost", "local\u200bhost",
		"local\u2060host", "1\u00ad27.0.0.1", "１２７.1", "０ｘ７ｆ.1", "²¹³⁰⁷⁰⁶⁴³³", "٠x7f.1", "١٢٧.٠.٠.١", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "𝓁𝓸𝓬𝓪𝓵𝓱𝓸𝓼𝓽",
	},
	"escaped": {
		"%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127.0.0.1%00", "127.0.0.1%0d%0a", "%6c%6f%63%61%6c%68%6f%73%74", "%5b::1%5d", "[%3a%3a1]",
		"%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1", "127%E3%80%820%E3%80%820%E3%80%821", "%E2%93%9Bocalhost", "localhost%2e", "localhost%00.example.com",
	},
	"around": {
		"user@127.0.0.1", "user:password@localhost", "@127.0.0.1", ":@127.0.0.1", "example.com@127.0.0.1", "example.com%40127.0.0.1", "127.0.0.1\\@example.com",
		"example.com\\127.0.0.1", "127.0.0.1#@example.com", "127.0.0.1?@example.com", "127.0.0.1;example.com", " 127.0.0.1", "127.0.0.1\t", "127.0.0.1\x00",
		"\u00a0127.0.0.1", "127.0.0.1,example.com", "'127.0.0.1'", "{127.0.0.1}", "127.0.0.1 example.com",
	},
}

// canary is a listener on every address of this machine that must see nobody.
func canary(t *testing.T) (port string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	connections = &atomic.Int64{}
	server := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, server.Close()); <-done })
	_, port, err = net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port, connections
}

// family answers with those of the addresses that a question asks for.
func family(addresses ...netip.Addr) func(dnsmessage.Type) []netip.Addr {
	return func(asked dnsmessage.Type) []netip.Addr {
		var fit []netip.Addr
		for _, addr := range addresses {
			if addr.Is4() && asked == dnsmessage.TypeA || addr.Is6() && asked == dnsmessage.TypeAAAA {
				fit = append(fit, addr)
			}
		}
		return fit
	}
}

// TestEverySpellingIsRefusedWhenSavedAndWhenDialled dials with a resolver that
// reads everything as an address inside, as the C library's does with 0x7f.1.
func TestEverySpellingIsRefusedWhenSavedAndWhenDialled(t *testing.T) {
	port, connections := canary(t)
	guard := egress.NewGuard(nil, true)
	client := newClient(t, guard, egress.Options{Resolver: resolverOf(family(netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()))})
	for group, hosts := range spellings {
		for _, host := range hosts {
			t.Run(group+"/"+host, func(t *testing.T) {
				for _, scheme := range []string{"http", "https"} {
					target := scheme + "://" + host + ":" + port + "/hook"
					if strings.ContainsAny(host, "#?") {
						target = scheme + "://" + strings.Replace(host, "127.0.0.1", "127.0.0.1:"+port, 1)
					}
					var refused *egress.Refused
					require.ErrorAs(t, guard.CheckURL(target), &refused, target)
					request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader("{}"))
					if err != nil {
						continue // no request can be made of it
					}
					response, err := client.Do(request)
					if err == nil {
						require.NoError(t, response.Body.Close())
					}
					require.Error(t, err)
				}
			})
		}
	}
	require.Zero(t, connections.Load())
}

// TestNamesOfInnerAddressesAreRefusedWhenDialled cannot be known when a URL is
// saved: the name is a good one, and what it resolves to is not.
func TestNamesOfInnerAddressesAreRefusedWhenDialled(t *testing.T) {
	port, connections := canary(t)
	guard := egress.NewGuard(nil, true)
	var answer atomic.Pointer[netip.Addr]
	client := newClient(t, guard, egress.Options{Resolver: resolverOf(func(asked dnsmessage.Type) []netip.Addr {
		return family(*answer.Load())(asked)
	})})
	tried := 0
	for name, addresses := range innerRanges {
		for _, address := range addresses {
			addr, err := netip.ParseAddr(address)
			if err != nil || addr.Zone() != "" {
				continue // no record of the DNS can say it
			}
			t.Run(name+"/"+address, func(t *testing.T) {
				answer.Store(&addr)
				for _, host := range []string{"hook.example", "127.0.0.1.nip.example", "localhost.example.com."} {
					target := "http://" + host + ":" + port
					require.NoError(t, guard.CheckURL(target))
					_, err := get(t, client, target)
					requireRefused(t, err, egress.ReasonAddress)
				}
			})
			tried++
		}
	}
	require.Greater(t, tried, 50)
	require.Zero(t, connections.Load())
}

// TestRebindingOfEitherFamily has a name resolve to a fit address once and to
// inner ones from then on. 127.0.0.2, which is allowed, stands for the public
// address.
func TestRebindingOfEitherFamily(t *testing.T) {
	for name, inner := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1", "mapped": "::ffff:127.0.0.1", "NAT64": "64:ff9b::7f00:1"} {
		t.Run(name, func(t *testing.T) {
			port, fit := listen(t, "127.0.0.2:0", ok)
			var turned atomic.Bool
			client := newClient(t, egress.NewGuard(prefixes("127.0.0.2/32"), true), egress.Options{Resolver: resolverOf(func(asked dnsmessage.Type) []netip.Addr {
				if !turned.Load() {
					return family(netip.MustParseAddr("127.0.0.2"))(asked)
				}
				return family(netip.MustParseAddr(inner))(asked)
			})})
			_, err := get(t, client, "http://rebind.example:"+port)
			require.NoError(t, err)
			client.CloseIdleConnections()
			turned.Store(true)
			for range 3 {
				_, err = get(t, client, "http://rebind.example:"+port)
				requireRefused(t, err, egress.ReasonAddress)
			}
			require.EqualValues(t, 1, fit.Load())
		})
	}
}

// TestNoRedirectLeadsInwards has a receiver that may be called send the caller
// on to one that may not, in every way that HTTP has.
func TestNoRedirectLeadsInwards(t *testing.T) {
	inside, connections := canary(t)
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		port, _ := listen(t, "127.0.0.2:0", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:"+inside+"/")
			w.Header().Set("Refresh", "0; url=http://127.0.0.1:"+inside+"/")
			w.Header().Set("Alt-Svc", `h2="127.0.0.1:`+inside+`"; ma=60`)
			w.WriteHeader(status)
		})
		client := newClient(t, egress.NewGuard(prefixes("127.0.0.2/32"), true), egress.Options{})
		for range 2 {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				request, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.2:"+port, strings.NewReader("{}"))
				require.NoError(t, err)
				response, err := client.Do(request)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, status, response.StatusCode)
			}
		}
	}
	require.Zero(t, connections.Load())
}

// TestTheCanarySeesConnections is what makes a canary without connections mean
// something.
func TestTheCanarySeesConnections(t *testing.T) {
	port, connections := canary(t)
	client := newClient(t, egress.NewGuard(prefixes("127.0.0.1/32"), true), egress.Options{Resolver: resolver(func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})})
	for _, host := range []string{"127.0.0.1", "hook.example"} {
		client.CloseIdleConnections()
		_, err := get(t, client, "http://"+host+":"+port)
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, connections.Load())
}

// TestRefusalsReachTheCallerThroughTheTransport is for whoever classifies them.
func TestRefusalsReachTheCallerThroughTheTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(server.Close)
	_, err := get(t, newClient(t, egress.NewGuard(nil, true), egress.Options{}), server.URL)
	var refused *egress.Refused
	require.True(t, errors.As(err, &refused))
	require.Equal(t, egress.ReasonAddress, refused.Reason)
}
