package egress_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/egress"
)

func requireRefused(t *testing.T, err error, reason egress.Reason) {
	t.Helper()
	var refused *egress.Refused
	require.ErrorAs(t, err, &refused)
	require.Equal(t, reason, refused.Reason)
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// innerRanges are first and last addresses of every range that is refused.
var innerRanges = map[string][]string{
	"this network":     {"0.0.0.0", "0.255.255.255"},
	"private":          {"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"},
	"carrier NAT":      {"100.64.0.0", "100.127.255.255"},
	"loopback":         {"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"},
	"azure":            {"168.63.129.16"},
	"link-local":       {"169.254.0.0", "169.254.255.255", "fe80::", "fe80::1%eth0", "febf:ffff::"},
	"metadata":         {"169.254.169.254", "fd00:ec2::254"},
	"assignments":      {"192.0.0.0", "192.0.0.255", "2001::", "2001:1ff:ffff::"},
	"documentation":    {"192.0.2.0", "198.51.100.255", "203.0.113.7", "2001:db8::1", "3fff::1"},
	"benchmark":        {"198.18.0.0", "198.19.255.255"},
	"6to4 relay":       {"192.88.99.1"},
	"multicast":        {"224.0.0.0", "239.255.255.255", "ff00::", "ff02::1"},
	"reserved":         {"240.0.0.0", "255.255.255.254"},
	"broadcast":        {"255.255.255.255"},
	"unspecified":      {"::"},
	"v4-compatible":    {"::127.0.0.1", "::8.8.8.8"},
	"v4-mapped":        {"::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::ffff:168.63.129.16"},
	"v4-translated":    {"::ffff:0:127.0.0.1"},
	"NAT64":            {"64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"},
	"6to4":             {"2002:7f00:1::", "2002:808:808::1"},
	"teredo":           {"2001:0:4136:e378:8000:63bf:3fff:fdd2"},
	"unique local":     {"fc00::", "fdff:ffff::1"},
	"site-local":       {"fec0::1", "feff::1"},
	"discard":          {"100::1"},
	"outside unicast":  {"4000::1", "1fff::1"},
	"no address":       {""},
	"segment routing":  {"5f00::1"},
	"AS112 delegation": {"192.31.196.1", "192.175.48.1"},
}

func TestCheckAddrRefusesInnerRanges(t *testing.T) {
	guard := egress.NewGuard(nil, true)
	for name, addresses := range innerRanges {
		for _, address := range addresses {
			t.Run(name+"/"+address, func(t *testing.T) {
				addr, _ := netip.ParseAddr(address)
				requireRefused(t, guard.CheckAddr(addr), egress.ReasonAddress)
			})
		}
	}
}

func TestCheckAddrLetsPublicAddressesThrough(t *testing.T) {
	guard := egress.NewGuard(nil, true)
	for _, address := range []string{
		"1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
		"192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8",
		"2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00::1", "2600::",
	} {
		require.NoError(t, guard.CheckAddr(netip.MustParseAddr(address)), address)
	}
}

func TestAllowListOpensItsRangesAndNoMore(t *testing.T) {
	guard := egress.NewGuard(append(prefixes("10.1.0.0/16", "::ffff:172.20.0.0/112", "fd12::/16", "fe80::/10", "64:ff9b::/96", "192.168.7.9/24"), netip.Prefix{}), false)
	for address, allowed := range map[string]bool{
		"10.1.0.0":                 true,
		"10.1.255.255":             true,
		"::ffff:10.1.2.3":          true,
		"10.0.255.255":             false,
		"10.2.0.0":                 false,
		"172.20.255.255":           true,
		"172.21.0.0":               false,
		"192.168.7.1":              true,
		"192.168.8.1":              false,
		"fd12::1":                  true,
		"fd13::1":                  false,
		"fe80::1%eth0":             true,
		"64:ff9b::8.8.8.8":         true,
		"64:ff9b::127.0.0.1":       false,
		"64:ff9b::10.1.2.3":        true,
		"64:ff9b::10.2.2.3":        false,
		"64:ff9b::169.254.169.254": false,
		"127.0.0.1":                false,
	} {
		err := guard.CheckAddr(netip.MustParseAddr(address))
		require.Equal(t, allowed, err == nil, address)
	}
	everything := egress.NewGuard(prefixes("::/0", "0.0.0.0/0"), false)
	for _, address := range []string{"::", "::1", "127.0.0.1", "2002:7f00:1::", "255.255.255.255"} {
		require.NoError(t, everything.CheckAddr(netip.MustParseAddr(address)), address)
	}
	loopback6 := egress.NewGuard(prefixes("::1/128"), false)
	require.NoError(t, loopback6.CheckAddr(netip.MustParseAddr("::1")))
}

func TestControlChecksNetworkAndAddress(t *testing.T) {
	guard := egress.NewGuard(nil, false)
	require.NoError(t, guard.Control("tcp4", "8.8.8.8:443", nil))
	require.NoError(t, guard.Control("tcp6", "[2600::1]:443", nil))
	requireRefused(t, guard.Control("tcp4", "127.0.0.1:443", nil), egress.ReasonAddress)
	requireRefused(t, guard.Control("tcp6", "[fe80::1%eth0]:443", nil), egress.ReasonAddress)
	requireRefused(t, guard.Control("udp4", "8.8.8.8:443", nil), egress.ReasonAddress)
	requireRefused(t, guard.Control("unix", "/run/docker.sock", nil), egress.ReasonAddress)
	requireRefused(t, guard.Control("tcp4", "example.com:443", nil), egress.ReasonAddress)
}

func TestRefusedTellsNothingOfTheTarget(t *testing.T) {
	guard := egress.NewGuard(nil, false)
	texts := map[egress.Reason]string{}
	for _, raw := range []string{"https://10.20.30.40/x", "https://u:secret@h", "https://0x7f.1", "https://h:0", "ftp://h", "::", "https://h/" + string(make([]byte, 2050))} {
		err := guard.CheckURL(raw)
		var refused *egress.Refused
		require.True(t, errors.As(err, &refused))
		require.NotContains(t, err.Error(), "10.20")
		require.NotContains(t, err.Error(), "secret")
		texts[refused.Reason] = err.Error()
	}
	require.Len(t, texts, 7, "one text for each reason")
}

func TestNamed(t *testing.T) {
	guard := egress.NewGuard(prefixes("10.0.0.0/8", "8.8.8.8/32", "fd00::/8"), false)
	for addr, want := range map[string]bool{
		"10.0.0.1": true, "8.8.8.8": true, "::ffff:8.8.8.8": true, "fd00::1": true, "1.1.1.1": false, "127.0.0.1": false, "::1": false,
	} {
		require.Equal(t, want, guard.Named(netip.MustParseAddr(addr)), addr)
	}
}
