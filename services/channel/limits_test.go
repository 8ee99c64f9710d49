package channel_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func requireLimited(t *testing.T, err error, wait time.Duration) {
	t.Helper()
	requireError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	after, ok := rpcerr.RetryAfter(err)
	require.True(t, ok)
	require.Equal(t, wait, after)
}

func TestAChannelTakesItsRate(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual), withConfig(channel.Config{EndpointRate: ratelimit.Rate{PerSecond: 10, Burst: 3}}))
		c, other := r.create(), r.create()
		for i := range 3 {
			r.send(c, fmt.Sprint("person ", i), "oi")
		}
		_, err := r.inbound.ReceiveMessage(keyed("idempotency-key", "k"), received(c.GetId(), "ana", "oi"))
		requireLimited(t, err, 100*time.Millisecond)
		require.EqualValues(t, 3, r.backlog().Messages)
		r.send(other, "ana", "oi")
		manual.Advance(100 * time.Millisecond)
		_, err = r.inbound.ReceiveMessage(keyed("idempotency-key", "k"), received(c.GetId(), "ana", "oi"))
		require.NoError(t, err, "what was turned away did not use its key up")
		require.EqualValues(t, 5, r.backlog().Messages)
	})
}

func TestTheDefaultLimitsMeetNobodyHonest(t *testing.T) {
	r := newRig(t, onSQLite(t), withClock(clock.NewManual(noon)))
	c := r.create()
	for i := range 2000 {
		r.send(c, fmt.Sprint(i), "oi")
	}
	_, err := r.inbound.ReceiveMessage(t.Context(), received(c.GetId(), "ana", "oi"))
	requireLimited(t, err, time.Millisecond)
}

func TestStrangersAreTurnedAwayBeforeTheStore(t *testing.T) {
	manual := clock.NewManual(noon)
	db := onSQLite(t)
	r := newRig(t, db, withClock(manual), withConfig(channel.Config{RefusedRate: ratelimit.Rate{PerSecond: 10, Burst: 3}}))
	c := r.create()
	r.send(c, "ana", "oi")
	stranger := keyed("x-forwarded-for", "203.0.113.7")
	unknown := func(n int) *channelv1.ReceiveMessageRequest { return received(fmt.Sprintf("%024x", n), "ana", "oi") }
	for n := range 3 {
		_, err := r.inbound.ReceiveMessage(stranger, unknown(n))
		requireError(t, err, codes.NotFound, "CHANNEL_NOT_FOUND")
	}
	_, err := r.inbound.ReceiveMessage(stranger, unknown(3))
	requireLimited(t, err, 100*time.Millisecond)
	_, err = r.inbound.ReceiveMessage(stranger, received(c.GetId(), "bia", "oi"))
	require.NoError(t, err, "who is behind the same address and knows a channel is not in the way")
	_, err = r.inbound.ReceiveMessage(keyed("x-forwarded-for", "203.0.113.8"), unknown(4))
	requireError(t, err, codes.NotFound, "CHANNEL_NOT_FOUND")

	// What was looked for is not looked for again.
	manual.Advance(time.Second)
	require.NoError(t, db.Close())
	_, err = r.inbound.ReceiveMessage(stranger, unknown(1))
	requireError(t, err, codes.NotFound, "CHANNEL_NOT_FOUND")
	_, err = r.inbound.ReceiveMessage(stranger, unknown(5))
	require.NotEqual(t, "CHANNEL_NOT_FOUND", rpcerr.Reason(err), "this one was not, and the store is gone")
}

func TestTokensCannotBeGuessedQuickly(t *testing.T) {
	manual := clock.NewManual(noon)
	r := newRig(t, onSQLite(t), withClock(manual), withConfig(channel.Config{RefusedRate: ratelimit.Rate{PerSecond: 10, Burst: 3}}))
	const token = "um-token-de-entrada"
	c := r.create(func(c *channelv1.Channel) { c.InboundToken = token })
	other := r.create(func(c *channelv1.Channel) { c.InboundToken = token })
	as := func(address, token string, to *channelv1.Channel) error {
		_, err := r.inbound.ReceiveMessage(keyed("x-forwarded-for", address, "authorization", "Bearer "+token), received(to.GetId(), "ana", "oi"))
		return err
	}
	for range 10 {
		require.NoError(t, as("203.0.113.7", token, c), "tokens that fit do not count")
	}
	for range 3 {
		requireError(t, as("203.0.113.7", "errado", c), codes.Unauthenticated, "INBOUND_TOKEN_INVALID")
	}
	requireLimited(t, as("203.0.113.7", "errado", c), 100*time.Millisecond)
	requireLimited(t, as("203.0.113.7", token, c), 100*time.Millisecond)
	require.NoError(t, as("203.0.113.7", token, other))
	require.NoError(t, as("203.0.113.8", token, c))
	manual.Advance(100 * time.Millisecond)
	require.NoError(t, as("203.0.113.7", token, c))
}
