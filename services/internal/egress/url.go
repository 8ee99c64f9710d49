package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxURLLength is the number of characters that a target's URL may have.
const MaxURLLength = 2048

// loopbackNames are names that hosts files and resolvers give to the machine
// itself; names under "localhost" are reserved for it too (RFC 6761).
var loopbackNames = map[string]bool{
	"localhost":               true,
	"localhost6":              true,
	"localhost.localdomain":   true,
	"localhost6.localdomain6": true,
	"ip6-localhost":           true,
	"ip6-loopback":            true,
}

// CheckURL returns a *[Refused] if raw can be no target: it is for the moment a
// URL is saved, and resolves no names. Addresses in raw itself are checked as
// [Guard.CheckAddr] does. An IPv4 address must be written as four decimal
// numbers, because resolvers disagree about what the other spellings mean.
func (g *Guard) CheckURL(raw string) error {
	if utf8.RuneCountInString(raw) > MaxURLLength {
		return refuse(ReasonLength)
	}
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, unprintable) {
		return refuse(ReasonMalformed)
	}
	target, err := url.Parse(raw)
	if err != nil {
		return refuse(ReasonMalformed)
	}
	if err := g.checkScheme(target); err != nil {
		return err
	}
	if err := checkPort(target); err != nil {
		return err
	}
	return g.checkHost(target.Hostname(), strings.HasPrefix(target.Host, "["))
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// checkScheme checks what a request can be judged by before any name is
// looked up; it is repeated on every request, as the setting may have changed
// since the URL was saved.
func (g *Guard) checkScheme(target *url.URL) error {
	if target.Scheme != "https" && (target.Scheme != "http" || !g.allowHTTP) {
		return refuse(ReasonScheme)
	}
	if target.User != nil {
		return refuse(ReasonUserInfo)
	}
	if target.Host == "" {
		return refuse(ReasonHost)
	}
	return nil
}

func checkPort(target *url.URL) error {
	if strings.HasSuffix(target.Host, ":") {
		return refuse(ReasonPort)
	}
	port := target.Port()
	if port == "" {
		return nil
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return refuse(ReasonPort)
	}
	return nil
}

func (g *Guard) checkHost(host string, bracketed bool) error {
	if bracketed {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return refuse(ReasonHost)
		}
		return g.CheckAddr(addr)
	}
	name, err := asciiHost(host)
	if err != nil {
		return refuse(ReasonHost)
	}
	bare := strings.TrimSuffix(name, ".")
	if !validName(bare) {
		return refuse(ReasonHost)
	}
	if endsInNumber(bare) {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return refuse(ReasonHost)
		}
		return g.CheckAddr(addr)
	}
	if loopbackNames[bare] || strings.HasSuffix(bare, ".localhost") {
		if !g.allowed(netip.AddrFrom4([4]byte{127, 0, 0, 1})) && !g.allowed(netip.IPv6Loopback()) {
			return refuse(ReasonAddress)
		}
	}
	return nil
}

// asciiHost returns host as net/http will look it up: in lower case, with
// international names in their ASCII form. That mapping turns full-width
// digits and dots into plain ones, so it must come before any check.
func asciiHost(host string) (string, error) {
	for i := range len(host) {
		if host[i] >= utf8.RuneSelf {
			return idna.Lookup.ToASCII(host)
		}
	}
	return strings.ToLower(host), nil
}

// validName reports whether name, in lower case and without a final dot, has
// the form of a DNS name. Underscores are let through: container networks use
// them.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// endsInNumber reports whether the last label of name is a number, decimal,
// octal or hexadecimal. No top-level domain is one, so such a host is an
// address (WHATWG URL, "ends in a number").
func endsInNumber(name string) bool {
	label := name[strings.LastIndexByte(name, '.')+1:]
	if digits, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
