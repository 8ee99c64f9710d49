package channel_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func requireError(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, status.Code(err), err)
	require.Equal(t, reason, rpcerr.Reason(err))
}

func fields(err error) []string {
	var names []string
	for _, v := range rpcerr.Violations(status.Convert(err)) {
		names = append(names, v.Field)
	}
	return names
}

func TestTheChannelIsFoundByItsIDInEitherCase(t *testing.T) {
	r := newRig(t, onSQLite(t))
	c := r.create()
	_, err := r.inbound.ReceiveMessage(t.Context(), received(strings.ToUpper(c.GetId()), "ana", "oi"))
	require.NoError(t, err)
	_, err = r.inbound.ReceiveMessage(t.Context(), received(c.GetId(), "ana", "oi"))
	require.NoError(t, err)
	require.EqualValues(t, 2, r.backlog().Messages)
	_, err = r.inbound.ReceiveMessage(t.Context(), received("64a1b2c3d4e5f6a7b8c9d0e1", "ana", "oi"))
	requireError(t, err, codes.NotFound, "CHANNEL_NOT_FOUND")
}

func TestInboundToken(t *testing.T) {
	r := newRig(t, onSQLite(t))
	const token = "um-token-de-entrada"
	c := r.create(func(c *channelv1.Channel) { c.InboundToken = token })
	require.True(t, c.GetInboundTokenSet())
	require.Empty(t, c.GetInboundToken())
	other := r.create(func(c *channelv1.Channel) { c.InboundToken = "outro-token-de-entrada" })
	for name, test := range map[string]struct {
		headers []string
		channel string
		ok      bool
	}{
		"right":              {[]string{"authorization", "Bearer " + token}, c.GetId(), true},
		"scheme in any case": {[]string{"authorization", "bearer " + token}, c.GetId(), true},
		"none":               {nil, c.GetId(), false},
		"empty":              {[]string{"authorization", ""}, c.GetId(), false},
		"wrong":              {[]string{"authorization", "Bearer " + token + "x"}, c.GetId(), false},
		"cut":                {[]string{"authorization", "Bearer " + token[:len(token)-1]}, c.GetId(), false},
		"without scheme":     {[]string{"authorization", token}, c.GetId(), false},
		"another scheme":     {[]string{"authorization", "Basic " + token}, c.GetId(), false},
		"twice":              {[]string{"authorization", "Bearer x", "authorization", "Bearer " + token}, c.GetId(), false},
		"of another channel": {[]string{"authorization", "Bearer " + token}, other.GetId(), false},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.backlog().Messages
			_, err := r.inbound.ReceiveMessage(keyed(test.headers...), received(test.channel, "ana", "oi"))
			if test.ok {
				require.NoError(t, err)
				return
			}
			requireError(t, err, codes.Unauthenticated, "INBOUND_TOKEN_INVALID")
			require.Equal(t, before, r.backlog().Messages)
		})
	}
	// Taken away, nothing is wanted any more, at once.
	_, err := r.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
		Instance: "acme", Id: c.GetId(), Channel: &channelv1.Channel{}, UpdateMask: mask("inbound_token"),
	})
	require.NoError(t, err)
	_, err = r.inbound.ReceiveMessage(t.Context(), received(c.GetId(), "ana", "oi"))
	require.NoError(t, err)
}

func TestIdempotencyKeyOfMessages(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		c, other := r.create(), r.create()
		ctx := keyed("idempotency-key", "k1")
		first, err := r.inbound.ReceiveMessage(ctx, received(c.GetId(), "ana", "oi"))
		require.NoError(t, err)
		again, err := r.inbound.ReceiveMessage(ctx, received(c.GetId(), "ana", "oi"))
		require.NoError(t, err)
		require.Equal(t, first.GetMessageId(), again.GetMessageId())
		for _, different := range []*channelv1.ReceiveMessageRequest{
			received(c.GetId(), "ana", "outra"), received(c.GetId(), "bia", "oi"),
			{ChannelId: c.GetId(), ClientIdentifier: "ana", Type: "text", Text: "oi", Postback: "index0"},
		} {
			_, err = r.inbound.ReceiveMessage(ctx, different)
			requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		}
		// Another channel, another owner, another key.
		_, err = r.inbound.ReceiveMessage(ctx, received(other.GetId(), "ana", "outra"))
		require.NoError(t, err)
		// Without a key equal texts are two messages.
		require.NotEqual(t, r.send(c, "ana", "oi"), r.send(c, "ana", "oi"))
		require.EqualValues(t, 4, r.backlog().Messages)
	})
}

func TestFiftyCallsWithOneKeyAreOneMessage(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create()
		var (
			mu    sync.Mutex
			ids   = map[string]bool{}
			group sync.WaitGroup
		)
		for range 50 {
			group.Go(func() {
				answer, err := r.inbound.ReceiveMessage(keyed("idempotency-key", "k"), received(c.GetId(), "ana", "oi"))
				if err != nil {
					if rpcerr.Reason(err) != "IDEMPOTENCY_KEY_IN_FLIGHT" || status.Code(err) != codes.Aborted {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[answer.GetMessageId()] = true
			})
		}
		group.Wait()
		require.Len(t, ids, 1)
		r.drained()
		require.Equal(t, []string{"oi"}, r.agent.texts("ana"))
		require.Len(t, r.lane(c, "ana"), 1)
	})
}

func TestLimitsOfTheIdempotencyKey(t *testing.T) {
	r := newRig(t, onSQLite(t))
	c := r.create()
	for name, test := range map[string]struct {
		ctx context.Context
		ok  bool
	}{
		"one character":  {keyed("idempotency-key", "x"), true},
		"255 characters": {keyed("idempotency-key", strings.Repeat("x", 255)), true},
		"with a space":   {keyed("idempotency-key", "a b~"), true},
		"empty":          {keyed("idempotency-key", ""), false},
		"256 characters": {keyed("idempotency-key", strings.Repeat("x", 256)), false},
		"a tab":          {keyed("idempotency-key", "a\tb"), false},
		"not ASCII":      {keyed("idempotency-key", "ção"), false},
		"two":            {keyed("idempotency-key", "a", "idempotency-key", "b"), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.inbound.ReceiveMessage(test.ctx, received(c.GetId(), "ana", "oi"))
			if test.ok {
				require.NoError(t, err)
				return
			}
			requireError(t, err, codes.InvalidArgument, "REQUEST_INVALID")
			require.Equal(t, []string{"Idempotency-Key"}, fields(err))
		})
	}
}

func TestAStoreThatCannotTakeItIsUnavailable(t *testing.T) {
	db := onSQLite(t)
	r := newRig(t, db)
	c := r.create()
	r.send(c, "ana", "oi")
	require.NoError(t, db.Close())
	_, err := r.inbound.ReceiveMessage(t.Context(), received(c.GetId(), "ana", "oi"))
	requireError(t, err, codes.Unavailable, "UNAVAILABLE")
	_, ok := rpcerr.RetryAfter(err)
	require.True(t, ok)
}
