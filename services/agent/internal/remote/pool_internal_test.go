package remote

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

func TestPlainTextGoesToNamedAddressesOnly(t *testing.T) {
	p := NewPool(Deps{Guard: egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("8.8.8.0/24"), netip.MustParsePrefix("10.0.0.0/8")}, true)})
	for address, want := range map[string]struct{ plain, tls bool }{
		"8.8.8.8:443":          {true, true},
		"[::ffff:8.8.8.8]:443": {true, true},
		"10.1.2.3:443":         {true, true},
		"1.1.1.1:443":          {false, true},
		"192.168.1.1:443":      {false, false},
		"[::1]:443":            {false, false},
	} {
		require.Equal(t, want.plain, p.control(true, "tcp4", address, nil) == nil, address)
		require.Equal(t, want.tls, p.control(false, "tcp4", address, nil) == nil, address)
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	p := NewPool(Deps{Guard: egress.NewGuard(nil, true)})
	used, release, err := p.get(&agentv1.Remote{Target: "used.example:443"})
	require.NoError(t, err)
	for i := range maxConnections + 1 {
		c, giveBack, err := p.get(&agentv1.Remote{Target: "a.example:" + strconv.Itoa(i+1)})
		require.NoError(t, err)
		again, giveBackToo, err := p.get(&agentv1.Remote{Target: "dns:///a.example:" + strconv.Itoa(i+1)})
		require.NoError(t, err)
		require.Same(t, c, again)
		giveBack()
		giveBack()
		require.Nil(t, c.place, "it is still in use")
		giveBackToo()
	}
	require.Equal(t, maxConnections, p.idle.Len())
	require.NotContains(t, p.byKey, key{"a.example:1", false}, "the one used longest ago went")
	require.Len(t, p.byKey, maxConnections+1)
	require.Same(t, used, p.byKey[key{"used.example:443", false}])

	p.closed = true
	release()
	require.Empty(t, p.byKey, "a closed pool keeps none")
	_, _, err = p.get(&agentv1.Remote{Target: "unix:///run/a"})
	require.ErrorIs(t, err, errTarget)
}
