package accounts_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// callOf is a call of a key, without a limit a second: two engines go by two clocks there.
func callOf(key *accountsv1.ApiKey, perDay int32, day int64) *accountsv1.TakeCallRequest {
	return &accountsv1.TakeCallRequest{Instance: "acme", KeyId: key.GetId(), Kind: "contacts", PerDay: perDay, Day: day}
}

// today is the day of the fixture's clock in an instance's default zone.
func (f *fixture) today(t *testing.T) int64 {
	t.Helper()
	zone, err := time.LoadLocation("America/Sao_Paulo")
	require.NoError(t, err)
	return quota.DayOf(f.clock.Now(), zone).Number
}

func (f *fixture) take(t *testing.T, r *accountsv1.TakeCallRequest) *accountsv1.TakeCallResponse {
	t.Helper()
	response, err := f.meter.TakeCall(t.Context(), r)
	require.NoError(t, err)
	return response
}

func (f *fixture) getUsage(t *testing.T, r *accountsv1.GetUsageRequest) *accountsv1.GetUsageResponse {
	t.Helper()
	response, err := f.usage.GetUsage(t.Context(), r)
	require.NoError(t, err)
	return response
}

// counted is today's count of the first key's first kind.
func (f *fixture) counted(t *testing.T) int32 {
	t.Helper()
	return f.getUsage(t, &accountsv1.GetUsageRequest{Instance: "acme"}).GetKeys()[0].GetCalls()[0].GetToday()
}

func TestUsageTellsWhatWasCounted(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		one := f.createKey(t, "acme", "contacts.read")
		f.clock.Advance(time.Second)
		other := f.createKey(t, "acme", "manage")
		for range 3 {
			require.True(t, f.take(t, callOf(one, 50_000, f.today(t))).GetAllowed())
		}
		chat := callOf(one, 0, f.today(t))
		chat.Kind = "conversations"
		require.True(t, f.take(t, chat).GetAllowed())

		for range 3 { // to ask costs nothing
			got := f.getUsage(t, &accountsv1.GetUsageRequest{Instance: "acme"})
			require.Equal(t, "2026-03-01", got.GetDate())
			require.Equal(t, time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC), got.GetResetTime().AsTime())
			require.Empty(t, got.GetNextPageToken())
			require.Len(t, got.GetKeys(), 2)
			require.Equal(t, one.GetId(), got.GetKeys()[0].GetApiKeyId())
			contacts, conversations := got.GetKeys()[0].GetCalls()[0], got.GetKeys()[0].GetCalls()[1]
			require.Equal(t, "contacts", contacts.GetKind())
			require.Equal(t, []int32{3, 50_000, 49_997, 10},
				[]int32{contacts.GetToday(), contacts.GetDailyLimit(), contacts.GetRemainingToday(), contacts.GetPerSecondLimit()})
			require.Equal(t, "conversations", conversations.GetKind())
			require.Equal(t, []int32{1, 0, 0, 20},
				[]int32{conversations.GetToday(), conversations.GetDailyLimit(), conversations.GetRemainingToday(), conversations.GetPerSecondLimit()})
			require.Zero(t, got.GetKeys()[1].GetCalls()[0].GetToday())
		}

		first := f.getUsage(t, &accountsv1.GetUsageRequest{Instance: "acme", PageSize: 1})
		require.Equal(t, one.GetId(), first.GetKeys()[0].GetApiKeyId())
		second := f.getUsage(t, &accountsv1.GetUsageRequest{Instance: "acme", PageSize: 1, PageToken: first.GetNextPageToken()})
		require.Equal(t, other.GetId(), second.GetKeys()[0].GetApiKeyId())
		require.Empty(t, second.GetNextPageToken())

		_, err := f.manage.DeleteApiKey(t.Context(), &accountsv1.DeleteApiKeyRequest{Instance: "acme", Id: one.GetId()})
		require.NoError(t, err)
		require.Len(t, f.getUsage(t, &accountsv1.GetUsageRequest{Instance: "acme"}).GetKeys(), 1)
	})
}

func TestUsageBeginsAnewAtMidnightOfTheInstance(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		key := f.createKey(t, "acme", "contacts.read")
		require.True(t, f.take(t, callOf(key, 1, f.today(t))).GetAllowed())
		f.clock.Set(time.Date(2026, 3, 2, 2, 59, 59, 0, time.UTC)) // a second before midnight in São Paulo
		refused := f.take(t, callOf(key, 1, f.today(t)))
		require.False(t, refused.GetAllowed())
		require.Equal(t, int64(1), refused.GetUsed())
		require.Equal(t, int32(1), f.counted(t))
		f.clock.Advance(time.Second)
		require.Zero(t, f.counted(t))
		require.True(t, f.take(t, callOf(key, 1, f.today(t))).GetAllowed())
		require.Equal(t, int32(1), f.counted(t))
	})
}

func TestUsageRefusesWhatIsNotThere(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		_, err := f.usage.GetUsage(t.Context(), &accountsv1.GetUsageRequest{Instance: "acme"})
		requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
		f.createInstance(t, "acme")
		require.Empty(t, f.getUsage(t, &accountsv1.GetUsageRequest{Instance: "acme"}).GetKeys())
		_, err = f.usage.GetUsage(t.Context(), &accountsv1.GetUsageRequest{Instance: "acme", PageToken: "forged"})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageToken")
		_, err = f.usage.GetUsage(t.Context(), &accountsv1.GetUsageRequest{Instance: "acme", PageSize: 501})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageSize")
		_, err = f.meter.TakeCall(t.Context(), &accountsv1.TakeCallRequest{
			Instance: "acme", KeyId: "k", Kind: "contacts", PerSecond: 1001, PerDay: 1_000_000_001, Day: 1, Floor: -1, Add: -1,
		})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "perSecond", "perDay", "floor", "add")
		_, err = f.meter.TakeCall(t.Context(), &accountsv1.TakeCallRequest{
			Instance: "acme", KeyId: "k", Kind: "contacts", PerSecond: 1000, PerDay: 1_000_000_000, Day: 1,
		})
		require.NoError(t, err)
	})
}

func TestTheMeterTellsOfTheSecond(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		call := callOf(f.createKey(t, "acme", "contacts.read"), 50_000, f.today(t))
		call.PerSecond = 1
		first := f.take(t, call)
		require.True(t, first.GetAllowed())
		require.Equal(t, int32(1), first.GetRecent())
		require.InDelta(t, quota.Window, first.GetResetIn().AsDuration(), float64(10*time.Millisecond))
	})
}

// running runs the service's workers until end is called.
func running(t *testing.T, service *accounts.Service) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for _, worker := range service.Workers() {
		go func() { ended <- worker.Run(ctx) }()
	}
	return func() {
		cancel()
		for range service.Workers() {
			require.NoError(t, <-ended)
		}
	}
}

func TestCountsOutliveTheProcess(t *testing.T) {
	for name, test := range map[string]struct {
		killed bool
		sqlite int32 // what counts then on the embedded store; PostgreSQL is exact
	}{"ended in order": {false, 7}, "killed": {true, 100}} {
		t.Run(name, func(t *testing.T) {
			testkit.EachEngineOptions(t, accounts.Migrations(), "accounts", func(t *testing.T, options sqldb.Options) {
				db, err := sqldb.Open(t.Context(), options)
				require.NoError(t, err)
				f := newFixture(t, db)
				end := func() {} // who is killed hears nothing of an end
				if !test.killed {
					end = running(t, f.service)
				}
				f.createInstance(t, "acme")
				key := f.createKey(t, "acme", "contacts.read")
				for range 7 {
					require.True(t, f.take(t, callOf(key, 50_000, f.today(t))).GetAllowed())
				}
				end()
				want := int32(7)
				if db.Dialect() == sqldb.SQLite {
					want = test.sqlite
				}
				require.NoError(t, db.Close())

				f = newFixture(t, testkit.Open(t, options))
				require.Equal(t, want, f.counted(t))
				require.Equal(t, int64(want+1), f.take(t, callOf(key, 50_000, f.today(t))).GetUsed())
			})
		})
	}
}

func TestACountThatCannotBeReachedIsUnavailable(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		call := callOf(f.createKey(t, "acme", "contacts.read"), 50_000, f.today(t))
		require.NoError(t, f.db.Close())
		_, err := f.meter.TakeCall(t.Context(), call)
		requireFailure(t, err, codes.Unavailable, "UNAVAILABLE")
	})
}
