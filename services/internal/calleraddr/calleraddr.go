// Package calleraddr says from which address a call comes, so that what strangers do can be limited. It is no proof of identity.
package calleraddr

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/mtls"
)

// forwardedFor is where the gateway says for whom it speaks; what a caller of the gateway says under that name does not get there.
const forwardedFor = "x-forwarded-for"

// Of returns the address of a call's caller; false if it is not known, as with calls of services in the same process. The caller
// of a call that came through the gateway is the gateway's. An IPv4 address comes in its short form, an IPv6 address as the first
// of its /64, for that is what one subscriber has.
func Of(ctx context.Context) (netip.Addr, bool) {
	p, networked := peer.FromContext(ctx)
	networked = networked && p.Addr != nil && strings.HasPrefix(p.Addr.Network(), "tcp")
	if !networked || mtls.Verified(p.AuthInfo) || auth.FromContext(ctx).Internal {
		if values := metadata.ValueFromIncomingContext(ctx, forwardedFor); len(values) > 0 {
			last := values[len(values)-1]
			return coarse(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
		}
	}
	if !networked {
		return netip.Addr{}, false
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return netip.Addr{}, false
	}
	return coarse(host)
}

func coarse(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().Addr(), true
	}
	return addr, true
}
