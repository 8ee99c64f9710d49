package egress_test

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/idna"

	"github.com/prosa-chat/prosa/services/internal/egress"
)

func TestCheckURLAccepts(t *testing.T) {
	guard := egress.NewGuard(nil, false)
	for _, raw := range []string{
		"https://example.com", "https://example.com./hook", "HTTPS://EXAMPLE.com:8443/a%20b?c=d#e", "https://8.8.8.8/", "https://[2606:4700::1111]:443/x",
		"https://[::ffff:8.8.8.8]/", "https://exämple.com/ü", "https://xn--exmple-cua.com", "https://h:1", "https://h:65535", "https://my_service:8443/",
		"https://1.2.3.com", "https://0x7f.example", "https://localhost.example.com", "https://notlocalhost",
		"https://" + strings.Repeat("a", 63) + ".com",
	} {
		require.NoError(t, guard.CheckURL(raw), raw)
	}
}

func TestCheckURLRefuses(t *testing.T) {
	guard := egress.NewGuard(nil, false)
	for raw, reason := range map[string]egress.Reason{
		"":                                 egress.ReasonScheme,
		"example.com/hook":                 egress.ReasonScheme,
		"//example.com":                    egress.ReasonScheme,
		"http://example.com":               egress.ReasonScheme,
		"ftp://example.com":                egress.ReasonScheme,
		"file:///etc/passwd":               egress.ReasonScheme,
		"javascript:alert(1)":              egress.ReasonScheme,
		"unix:///run/x.sock":               egress.ReasonScheme,
		"https:":                           egress.ReasonHost,
		"https:/path":                      egress.ReasonHost,
		"https:example.com":                egress.ReasonHost,
		"https:///path":                    egress.ReasonHost,
		"https://:443/":                    egress.ReasonHost,
		"https://user@example.com":         egress.ReasonUserInfo,
		"https://user:pw@example.com":      egress.ReasonUserInfo,
		"https://@example.com":             egress.ReasonUserInfo,
		"https://example.com\\@127.0.0.1/": egress.ReasonMalformed,
		" https://example.com":             egress.ReasonMalformed,
		"https://example.com/a b":          egress.ReasonMalformed,
		"https://example.com/\r\nX: y":     egress.ReasonMalformed,
		"https://example.com/\xff":         egress.ReasonMalformed,
		"https://%31%32%37.0.0.1/":         egress.ReasonMalformed,
		"https://h:0":                      egress.ReasonPort,
		"https://h:65536":                  egress.ReasonPort,
		"https://h:":                       egress.ReasonPort,
		"https://h:x":                      egress.ReasonMalformed,
		"https://h:-1":                     egress.ReasonMalformed,
		"https://a..b":                     egress.ReasonHost,
		"https://.":                        egress.ReasonHost,
		"https://example.com..":            egress.ReasonHost,
		"https://" + strings.Repeat("a", 64) + ".com":      egress.ReasonHost,
		"https://" + strings.Repeat("aaa.", 63) + "aa":     egress.ReasonHost,
		"https://example.com/" + strings.Repeat("ü", 2029): egress.ReasonLength,

		// Every spelling of an inner address.
		"https://127.0.0.1":                  egress.ReasonAddress,
		"https://127.0.0.1.":                 egress.ReasonHost,
		"https://127.1":                      egress.ReasonHost,
		"https://0x7f.1":                     egress.ReasonHost,
		"https://0X7F.1":                     egress.ReasonHost,
		"https://0x7f000001":                 egress.ReasonHost,
		"https://0x":                         egress.ReasonHost,
		"https://2130706433":                 egress.ReasonHost,
		"https://017700000001":               egress.ReasonHost,
		"https://0177.0.0.1":                 egress.ReasonHost,
		"https://0177.0.0.01":                egress.ReasonHost,
		"https://127.0.0.1.5":                egress.ReasonHost,
		"https://256.0.0.1":                  egress.ReasonHost,
		"https://0":                          egress.ReasonHost,
		"https://0.0.0.0":                    egress.ReasonAddress,
		"https://[::1]":                      egress.ReasonAddress,
		"https://[::]":                       egress.ReasonAddress,
		"https://[::ffff:127.0.0.1]":         egress.ReasonAddress,
		"https://[::ffff:7f00:1]":            egress.ReasonAddress,
		"https://[0:0:0:0:0:ffff:127.0.0.1]": egress.ReasonAddress,
		"https://[64:ff9b::7f00:1]":          egress.ReasonAddress,
		"https://[2002:7f00:1::]":            egress.ReasonAddress,
		"https://[fe80::1%25eth0]":           egress.ReasonHost,
		"https://[fd00:ec2::254]":            egress.ReasonAddress,
		"https://169.254.169.254/latest":     egress.ReasonAddress,
		"https://168.63.129.16":              egress.ReasonAddress,
		"https://１２７.０.０.１":                  egress.ReasonAddress,
		"https://127。0。0。1":                  egress.ReasonAddress,
		"https://①②⑦.0.0.1":                  egress.ReasonAddress,
		"https://localhost":                  egress.ReasonAddress,
		"https://LOCALHOST:8443":             egress.ReasonAddress,
		"https://localhost.":                 egress.ReasonAddress,
		"https://a.b.localhost":              egress.ReasonAddress,
		"https://localhost.localdomain":      egress.ReasonAddress,
		"https://ip6-loopback":               egress.ReasonAddress,
		"https://ⓛocalhost":                  egress.ReasonAddress,
	} {
		t.Run(raw[:min(len(raw), 40)], func(t *testing.T) { requireRefused(t, guard.CheckURL(raw), reason) })
	}
}

func TestCheckURLLength(t *testing.T) {
	guard := egress.NewGuard(nil, false)
	prefix := "https://example.com/"
	require.NoError(t, guard.CheckURL(prefix+strings.Repeat("ü", egress.MaxURLLength-len(prefix))))
	requireRefused(t, guard.CheckURL(prefix+strings.Repeat("a", egress.MaxURLLength+1-len(prefix))), egress.ReasonLength)
}

func TestCheckURLFollowsTheSettings(t *testing.T) {
	guard := egress.NewGuard(prefixes("127.0.0.0/8"), true)
	for _, raw := range []string{"http://127.0.0.1:9000/x", "http://localhost:9000", "https://a.localhost", "https://[::ffff:127.0.0.1]", "http://example.com"} {
		require.NoError(t, guard.CheckURL(raw), raw)
	}
	// Even an allowed address must be written so that everybody reads it alike.
	requireRefused(t, guard.CheckURL("http://0177.0.0.1"), egress.ReasonHost)
	requireRefused(t, guard.CheckURL("http://10.0.0.1"), egress.ReasonAddress)
	require.NoError(t, egress.NewGuard(prefixes("::1/128"), false).CheckURL("https://localhost"))
}

// inetAton reads host as the C function of that name does: one to four parts,
// decimal, octal or hexadecimal, the last filling what is left.
func inetAton(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		if strings.ContainsAny(part, "_") {
			return netip.Addr{}, false
		}
		base := 10
		if digits, ok := strings.CutPrefix(strings.ToLower(part), "0x"); ok {
			base, part = 16, digits
			if part == "" {
				part = "0"
			}
		} else if len(part) > 1 && part[0] == '0' {
			base = 8
		}
		n, err := strconv.ParseUint(part, base, 64)
		if err != nil {
			return netip.Addr{}, false
		}
		last := i == len(parts)-1
		room := uint64(1) << 8
		if last {
			room = uint64(1) << (8 * (4 - i))
		}
		if n >= room {
			return netip.Addr{}, false
		}
		if last {
			value = value*room + n
		} else {
			value = value<<8 + n
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

func FuzzCheckURL(f *testing.F) {
	for _, raw := range []string{
		"https://example.com/x?y#z", "https://127.0.0.1.", "https://0x7f.1", "https://[::ffff:127.0.0.1]:1", "http://u@h", "https://１２７.1",
		"https://0177.0.0.1", "https://2130706433/", "https://[fe80::1%25lo]", "https://[64:ff9b::a00:1]", "https://a.localhost.", "https://8.8.8.8",
	} {
		f.Add(raw)
	}
	guard := egress.NewGuard(nil, true)
	f.Fuzz(func(t *testing.T, raw string) {
		if guard.CheckURL(raw) != nil {
			return
		}
		require.LessOrEqual(t, utf8.RuneCountInString(raw), egress.MaxURLLength)
		target, err := url.Parse(raw)
		require.NoError(t, err)
		require.Contains(t, []string{"http", "https"}, target.Scheme)
		require.Nil(t, target.User)
		host := target.Hostname()
		if mapped, err := idna.Lookup.ToASCII(host); err == nil {
			host = mapped
		}
		host = strings.TrimRight(host, ".")
		require.NotEqual(t, "localhost", strings.ToLower(host))
		if addr, err := netip.ParseAddr(host); err == nil {
			require.NoError(t, guard.CheckAddr(addr), "accepted %q", raw)
		}
		if addr, ok := inetAton(host); ok {
			require.NoError(t, guard.CheckAddr(addr), "accepted %q", raw)
		}
	})
}
