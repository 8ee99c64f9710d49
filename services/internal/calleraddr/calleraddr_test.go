package calleraddr_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/calleraddr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func from(address string, info credentials.AuthInfo) context.Context {
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
	return peer.NewContext(context.Background(), &peer.Peer{Addr: addr, AuthInfo: info})
}

func saying(ctx context.Context, values ...string) context.Context {
	md := metadata.MD{}
	for _, value := range values {
		md.Append("x-forwarded-for", value)
	}
	return metadata.NewIncomingContext(ctx, md)
}

func TestOf(t *testing.T) {
	certified := credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}}
	internal := func(ctx context.Context) context.Context {
		return auth.WithPrincipal(ctx, auth.Principal{Internal: true})
	}
	local := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.UnixAddr{Name: "0", Net: "inproc"}})
	for name, test := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"in the process, from nobody":           {context.Background(), ""},
		"in the process, for somebody":          {saying(context.Background(), "203.0.113.7"), "203.0.113.7"},
		"in the process, another way":           {saying(local, "203.0.113.7"), "203.0.113.7"},
		"only the last hop is known for sure":   {saying(context.Background(), "10.0.0.1", "1.1.1.1, 203.0.113.7"), "203.0.113.7"},
		"no address":                            {saying(context.Background(), "unknown"), ""},
		"over the network":                      {from("198.51.100.1:99", nil), "198.51.100.1"},
		"a stranger says who it is":             {saying(from("198.51.100.1:99", nil), "203.0.113.7"), "198.51.100.1"},
		"a stranger over TLS":                   {saying(from("198.51.100.1:99", credentials.TLSInfo{}), "203.0.113.7"), "198.51.100.1"},
		"the gateway, certified":                {saying(from("198.51.100.1:99", certified), "203.0.113.7"), "203.0.113.7"},
		"a service, certified, for nobody":      {from("198.51.100.1:99", certified), "198.51.100.1"},
		"the gateway on a network that is ours": {saying(internal(from("198.51.100.1:99", nil)), "203.0.113.7"), "203.0.113.7"},
		"IPv4 in IPv6":                          {from("[::ffff:198.51.100.1]:99", nil), "198.51.100.1"},
		"IPv6 by the subscriber":                {from("[2001:db8:1:2:3:4:5:6]:99", nil), "2001:db8:1:2::"},
		"IPv6 with a zone":                      {from("[fe80::1%eth0]:99", nil), "fe80::"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, ok := calleraddr.Of(test.ctx)
			require.Equal(t, test.want != "", ok)
			if ok {
				require.Equal(t, test.want, addr.String())
			}
		})
	}
}
