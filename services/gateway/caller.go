package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// caller is the address that a request comes from, as net/http has it in RemoteAddr. A proxy that is trusted says for whom it speaks in
// X-Forwarded-For, to which each proxy adds on the right: the caller is the first from there that is no trusted proxy. What stands
// further left anybody may have written.
func (g *Gateway) caller(r *http.Request) string {
	if len(g.proxies) == 0 || !g.isProxy(r.RemoteAddr) {
		return r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	caller := r.RemoteAddr
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break // a proxy that says no address: it is as far as one can see
		}
		caller = net.JoinHostPort(addr.String(), "0")
		if !g.isProxy(caller) {
			break
		}
	}
	return caller
}

func (g *Gateway) isProxy(remote string) bool {
	address, err := netip.ParseAddrPort(remote)
	return err == nil && slices.ContainsFunc(g.proxies, func(p netip.Prefix) bool { return p.Contains(address.Addr().Unmap().WithZone("")) })
}
