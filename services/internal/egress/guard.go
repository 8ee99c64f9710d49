package egress

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// innerPrefixes are the ranges that no target may be in. The ssrf library,
// which is asked as well, knows most of them from the IANA registries; those
// that the contract names are repeated here so that no update can open them.
var innerPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),         // unspecified, "this network"
	netip.MustParsePrefix("10.0.0.0/8"),        // private
	netip.MustParsePrefix("100.64.0.0/10"),     // carrier-grade NAT
	netip.MustParsePrefix("127.0.0.0/8"),       // loopback
	netip.MustParsePrefix("168.63.129.16/32"),  // Azure's platform endpoint, a public address that is answered inside
	netip.MustParsePrefix("169.254.0.0/16"),    // link-local, cloud metadata
	netip.MustParsePrefix("172.16.0.0/12"),     // private
	netip.MustParsePrefix("192.0.0.0/24"),      // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),      // documentation
	netip.MustParsePrefix("192.88.99.0/24"),    // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),    // private
	netip.MustParsePrefix("198.18.0.0/15"),     // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"),   // documentation
	netip.MustParsePrefix("203.0.113.0/24"),    // documentation
	netip.MustParsePrefix("224.0.0.0/4"),       // multicast
	netip.MustParsePrefix("240.0.0.0/4"),       // reserved, broadcast
	netip.MustParsePrefix("::/96"),             // unspecified, loopback, IPv4-compatible
	netip.MustParsePrefix("::ffff:0:0:0/96"),   // IPv4-translated
	netip.MustParsePrefix("64:ff9b::/96"),      // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"),    // local NAT64
	netip.MustParsePrefix("100::/64"),          // discard
	netip.MustParsePrefix("2001::/23"),         // protocol assignments, Teredo
	netip.MustParsePrefix("2001:db8::/32"),     // documentation
	netip.MustParsePrefix("2002::/16"),         // 6to4
	netip.MustParsePrefix("3fff::/20"),         // documentation
	netip.MustParsePrefix("5f00::/16"),         // segment routing
	netip.MustParsePrefix("fc00::/7"),          // unique local
	netip.MustParsePrefix("fd00:ec2::254/128"), // cloud metadata
	netip.MustParsePrefix("fe80::/10"),         // link-local
	netip.MustParsePrefix("fec0::/10"),         // site-local
	netip.MustParsePrefix("ff00::/8"),          // multicast
}

var (
	compatPrefix = netip.MustParsePrefix("::/96")
	nat64Prefix  = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour    = netip.MustParsePrefix("2002::/16")
)

// Guard decides which targets may be called. It is safe for concurrent use.
type Guard struct {
	allow     []netip.Prefix
	allowHTTP bool
	registry  *ssrf.Guardian
}

// NewGuard returns a Guard that lets through public addresses and those in the
// ranges of allow, which may be private. IPv4 ranges may be written in their
// v4-mapped form too. Plain http is a fit scheme only if allowHTTP is set.
func NewGuard(allow []netip.Prefix, allowHTTP bool) *Guard {
	g := &Guard{allowHTTP: allowHTTP, registry: ssrf.New(ssrf.WithAnyPort())}
	for _, prefix := range allow {
		if !prefix.IsValid() {
			continue
		}
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		g.allow = append(g.allow, prefix.Masked())
	}
	return g
}

// CheckAddr returns a *[Refused] unless addr is public or in an allowed range.
//
// An address that carries an IPv4 address inside it (NAT64, 6to4) needs both
// to be fit: a network that must allow 64:ff9b::/96 to reach the internet does
// not thereby open 64:ff9b::7f00:1.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	// A prefix never contains an address with a zone, which would make
	// fe80::1%eth0 look like an address in no range at all.
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() {
		return refuse(ReasonAddress)
	}
	if !g.allowed(addr) && g.inner(addr) {
		return refuse(ReasonAddress)
	}
	if v4, ok := embedded(addr); ok && !g.allowed(v4) && g.inner(v4) {
		return refuse(ReasonAddress)
	}
	return nil
}

// Named reports whether addr is in a range of allow: the operator means it,
// and not only the public internet that it may be a part of.
func (g *Guard) Named(addr netip.Addr) bool {
	return g.allowed(addr.WithZone("").Unmap())
}

// Control is a [net.Dialer.Control] that refuses addresses as CheckAddr does,
// and every network but TCP.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return refuse(ReasonAddress)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return refuse(ReasonAddress)
	}
	return g.CheckAddr(target.Addr())
}

func (g *Guard) allowed(addr netip.Addr) bool {
	for _, prefix := range g.allow {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func (g *Guard) inner(addr netip.Addr) bool {
	for _, prefix := range innerPrefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return g.registry.SafeAddr(addr) != nil
}

// embedded returns the IPv4 address inside addr, if addr is of a form that
// routers translate to one.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	raw := addr.As16()
	switch {
	case nat64Prefix.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[12:16])), true
	case compatPrefix.Contains(addr):
		// :: and ::1 have this form but are addresses of their own.
		return netip.AddrFrom4([4]byte(raw[12:16])), binary.BigEndian.Uint32(raw[12:16]) > 1
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[2:6])), true
	}
	return netip.Addr{}, false
}
