package grpcserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestRateLimits(t *testing.T) {
	f := newFixture(t)
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		f.clock.Advance(5 * time.Second)
		contacts := contactsv1.NewContactsServiceClient(conn)
		ctx := with(t.Context(), "x-api-key", contactsKey)
		request := &contactsv1.QueryContactsRequest{Instance: "acme"}
		var header metadata.MD
		for range 10 {
			_, err := contacts.QueryContacts(ctx, request, grpc.Header(&header))
			require.NoError(t, err)
			require.Equal(t, []string{`"second";q=10;w=1, "day";q=50000;w=86400`}, header.Get(grpcserver.HeaderRateLimitPolicy))
		}
		f.clock.Advance(250 * time.Millisecond)
		_, err := contacts.QueryContacts(ctx, request, grpc.Header(&header))
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.Equal(t, "RATE_LIMITED", rpcerr.Reason(err))
		after, ok := rpcerr.RetryAfter(err)
		require.True(t, ok)
		require.Equal(t, quota.Window-250*time.Millisecond, after)
		require.Equal(t, []string{`"second";q=10;w=1, "day";q=50000;w=86400`}, header.Get(grpcserver.HeaderRateLimitPolicy))
		require.Regexp(t, `^"second";r=0;t=1, "day";r=49\d\d\d;t=43\d\d\d$`, header.Get(grpcserver.HeaderRateLimit)[0])

		for range 30 {
			var header metadata.MD
			_, err = contacts.QueryContacts(with(t.Context(), "x-api-key", rootKey), request, grpc.Header(&header))
			require.NoError(t, err, "the root key has no limit")
			require.Empty(t, header.Get(grpcserver.HeaderRateLimit))
		}
		f.clock.Advance(after)
		_, err = contacts.QueryContacts(ctx, request)
		require.NoError(t, err)
	})
}

func TestARequestThatIsRefusedLaterCountsAndIsTold(t *testing.T) {
	f := newFixture(t)
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		f.clock.Advance(5 * time.Second)
		var header metadata.MD
		_, err := contactsv1.NewContactsServiceClient(conn).QueryContacts(with(t.Context(), "x-api-key", contactsKey),
			&contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Source: new(string)}, Pagination: string(make([]byte, 5000))},
			grpc.Header(&header))
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.Regexp(t, `^"second";r=9;t=1, `, header.Get(grpcserver.HeaderRateLimit)[0])
	})
}

// strict is a keeper that must not be asked.
type strict struct{ t *testing.T }

func (s strict) Take(_ context.Context, subject quota.Subject, _ quota.Limits) (quota.Verdict, error) {
	require.Fail(s.t, "the keeper was asked", "%v", subject)
	return quota.Verdict{}, nil
}

// TestWhoHasNoKeyCostsTheLimiterNothing has every call refused before it, or not limited at all.
func TestWhoHasNoKeyCostsTheLimiterNothing(t *testing.T) {
	f := newFixture(t, func(d *grpcserver.ChainDeps) {
		d.Quotas = grpcserver.Quotas{Keeper: strict{t}, Contacts: quota.Limits{PerSecond: 1}, Conversations: quota.Limits{PerSecond: 1}}
	})
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		contacts := contactsv1.NewContactsServiceClient(conn)
		for _, ctx := range []context.Context{
			t.Context(), with(t.Context(), "x-api-key", "wrong"), with(t.Context(), "x-api-key", contactsKey+"x"), with(t.Context(), "x-api-key", manageKey),
			with(t.Context(), "x-api-key", conversationsKey),
		} {
			_, err := contacts.QueryContacts(ctx, &contactsv1.QueryContactsRequest{Instance: "acme"})
			require.Error(t, err)
		}
		_, err := contacts.QueryContacts(with(t.Context(), "x-api-key", contactsKey), &contactsv1.QueryContactsRequest{Instance: "other"})
		require.Error(t, err, "a key of another instance")
		_, err = contacts.QueryContacts(with(t.Context(), "x-api-key", rootKey), &contactsv1.QueryContactsRequest{Instance: "acme"})
		require.NoError(t, err)
		_, err = accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
		_, err = channelv1.NewInboundServiceClient(conn).ReceiveMessage(t.Context(),
			&channelv1.ReceiveMessageRequest{ChannelId: keyID, ClientIdentifier: "maria", Type: "text", Text: "oi"})
		require.NoError(t, err)
	})
}

func TestWithoutALimitNothingIsCounted(t *testing.T) {
	f := newFixture(t, func(d *grpcserver.ChainDeps) { d.Quotas = grpcserver.Quotas{Keeper: strict{t}} })
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		var header metadata.MD
		_, err := contactsv1.NewContactsServiceClient(conn).QueryContacts(with(t.Context(), "x-api-key", contactsKey),
			&contactsv1.QueryContactsRequest{Instance: "acme"}, grpc.Header(&header))
		require.NoError(t, err)
		require.Empty(t, header.Get(grpcserver.HeaderRateLimitPolicy))
	})
}
