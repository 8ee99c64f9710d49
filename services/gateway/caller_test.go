package gateway

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCallerBehindProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, test := range map[string]struct {
		proxies   []netip.Prefix
		remote    string
		forwarded []string
		want      string
	}{
		"nobody is trusted":                {nil, "10.0.0.1:4000", []string{"203.0.113.9"}, "10.0.0.1:4000"},
		"no proxy":                         {proxies, "198.51.100.7:4000", []string{"203.0.113.9"}, "198.51.100.7:4000"},
		"one proxy":                        {proxies, "10.0.0.1:4000", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"two proxies":                      {proxies, "10.0.0.1:4000", []string{"203.0.113.9, 10.2.3.4"}, "203.0.113.9:0"},
		"two lines":                        {proxies, "10.0.0.1:4000", []string{"203.0.113.9", "10.2.3.4"}, "203.0.113.9:0"},
		"what the caller wrote is left":    {proxies, "10.0.0.1:4000", []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9:0"},
		"an address of ours by the caller": {proxies, "10.0.0.1:4000", []string{"10.9.9.9, 203.0.113.9"}, "203.0.113.9:0"},
		"IPv6":                             {proxies, "[fd00::1]:4000", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		"IPv4 in IPv6":                     {proxies, "[::ffff:10.0.0.1]:4000", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"a proxy that says nothing":        {proxies, "10.0.0.1:4000", nil, "10.0.0.1:4000"},
		"a proxy that says rubbish":        {proxies, "10.0.0.1:4000", []string{"203.0.113.9, unknown"}, "10.0.0.1:4000"},
		"proxies all the way":              {proxies, "10.0.0.1:4000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
	} {
		g := &Gateway{proxies: test.proxies}
		r := &http.Request{RemoteAddr: test.remote, Header: http.Header{"X-Forwarded-For": test.forwarded}}
		require.Equal(t, test.want, g.caller(r), name)
	}
}
