package accounts_test

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
)

func (f *fixture) verify(ctx context.Context, key string) (*accountsv1.VerifyKeyResponse, error) {
	return f.identity.VerifyKey(ctx, &accountsv1.VerifyKeyRequest{Key: key})
}

func TestCreateApiKeyShowsTheKeyOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		made := f.createKey(t, "acme", "manage", "contacts.read")
		parsed, err := apikey.Parse(made.GetKey())
		require.NoError(t, err)
		require.Equal(t, made.GetId(), parsed.ID)
		require.Equal(t, "psk_"+made.GetId(), made.GetPrefix())
		require.NotContains(t, made.GetPrefix(), parsed.Secret[:8])
		require.Equal(t, start, made.GetCreateTime().AsTime())

		shown := proto.CloneOf(made)
		shown.Key = ""
		got, err := f.manage.GetApiKey(t.Context(), &accountsv1.GetApiKeyRequest{Instance: "acme", Id: made.GetId()})
		require.NoError(t, err)
		requireProto(t, shown, got.GetApiKey())
		list, err := f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Len(t, list.GetApiKeys(), 1)
		requireProto(t, shown, list.GetApiKeys()[0])
	})
}

func TestSecretIsNowhereInTheStore(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		response, err := f.manage.CreateApiKey(withIdempotencyKey(t, "k"), keyRequest("acme", "manage"))
		require.NoError(t, err)
		secret := must(apikey.Parse(response.GetApiKey().GetKey())).Secret

		var hash, kept []byte
		var display, scopes string
		require.NoError(t, f.db.Reader().QueryRowContext(t.Context(),
			`SELECT secret_hash, display_name, scopes FROM api_key WHERE instance = $1`, "acme").Scan(&hash, &display, &scopes))
		require.NoError(t, f.db.Reader().QueryRowContext(t.Context(),
			`SELECT response FROM idempotency WHERE instance = $1`, "acme").Scan(&kept))
		for _, stored := range []string{string(hash), display, scopes, string(kept)} {
			require.NotContains(t, stored, secret)
			require.NotContains(t, stored, secret[:8])
		}
		require.Len(t, hash, 32)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCreateApiKeyIdempotency(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		f.createInstance(t, "other")
		request := keyRequest("acme", "manage")
		request.ApiKey.ExpireTime = timestamppb.New(start.Add(time.Hour))
		ctx := withIdempotencyKey(t, "k")

		const callers = 8
		answers := make([]*accountsv1.CreateApiKeyResponse, callers)
		var wg sync.WaitGroup
		for n := range callers {
			wg.Go(func() { answers[n], _ = f.manage.CreateApiKey(ctx, request) })
		}
		wg.Wait()
		for _, answer := range answers {
			require.NotNil(t, answer)
			requireProto(t, answers[0], answer)
		}
		list, err := f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Len(t, list.GetApiKeys(), 1)

		// The first answer is given again though the key has expired.
		f.clock.Advance(2 * time.Hour)
		again, err := f.manage.CreateApiKey(ctx, request)
		require.NoError(t, err)
		requireProto(t, answers[0], again)

		_, err = f.manage.CreateApiKey(ctx, keyRequest("acme", "contacts.read"))
		requireFailure(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		// Another instance's callers may choose the same key.
		elsewhere, err := f.manage.CreateApiKey(ctx, keyRequest("other", "manage"))
		require.NoError(t, err)
		require.NotEqual(t, again.GetApiKey().GetId(), elsewhere.GetApiKey().GetId())
	})
}

func TestCreateApiKeyRefusals(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		for name, test := range map[string]struct {
			key    *accountsv1.ApiKey
			fields []string
		}{
			"no scope":            {&accountsv1.ApiKey{}, []string{"apiKey.scopes"}},
			"unknown scope":       {&accountsv1.ApiKey{Scopes: []string{"root"}}, []string{"apiKey.scopes[0]"}},
			"a scope twice":       {&accountsv1.ApiKey{Scopes: []string{"manage", "manage"}}, []string{"apiKey.scopes"}},
			"name too long":       {&accountsv1.ApiKey{Scopes: []string{"manage"}, DisplayName: strings.Repeat("x", 257)}, []string{"apiKey.displayName"}},
			"expired at creation": {&accountsv1.ApiKey{Scopes: []string{"manage"}, ExpireTime: timestamppb.New(start)}, []string{"apiKey.expireTime"}},
			"first of all times":  {&accountsv1.ApiKey{Scopes: []string{"manage"}, ExpireTime: timestamppb.New(time.Time{})}, []string{"apiKey.expireTime"}},
			"time of year zero":   {&accountsv1.ApiKey{Scopes: []string{"manage"}, ExpireTime: &timestamppb.Timestamp{Seconds: -1 << 40}}, []string{"apiKey.expireTime"}},
		} {
			_, err := f.manage.CreateApiKey(t.Context(), &accountsv1.CreateApiKeyRequest{Instance: "acme", ApiKey: test.key})
			require.Error(t, err, name)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", test.fields...)
		}
		list, err := f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Empty(t, list.GetApiKeys())
	})
}

func TestVerifyKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		request := keyRequest("acme", "conversations", "manage")
		request.ApiKey.ExpireTime = timestamppb.New(start.Add(time.Hour))
		response, err := f.manage.CreateApiKey(t.Context(), request)
		require.NoError(t, err)
		key := response.GetApiKey()

		root, err := f.verify(t.Context(), rootKey)
		require.NoError(t, err)
		requireProto(t, &accountsv1.VerifyKeyResponse{Root: true}, root)

		f.clock.Advance(time.Hour - time.Microsecond)
		who, err := f.verify(t.Context(), key.GetKey())
		require.NoError(t, err)
		requireProto(t, &accountsv1.VerifyKeyResponse{
			Instance: "acme", KeyId: key.GetId(), Scopes: []string{"conversations", "manage"}, ExpireTime: request.GetApiKey().GetExpireTime(),
		}, who)

		f.clock.Advance(time.Microsecond)
		_, err = f.verify(t.Context(), key.GetKey())
		requireFailure(t, err, codes.Unauthenticated, "API_KEY_INVALID")
	})
}

// A key that does not work says nothing about why: the answers to all of these are the same, byte by byte.
func TestVerifyKeyNeverSaysWhy(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		deleted := f.createKey(t, "acme", "manage")
		living := f.createKey(t, "acme", "manage")
		_, err := f.manage.DeleteApiKey(t.Context(), &accountsv1.DeleteApiKeyRequest{Instance: "acme", Id: deleted.GetId()})
		require.NoError(t, err)

		wrongSecret := apikey.Generate(living.GetId(), zeros{}).Reveal()
		unknown := apikey.Generate("0123456789abcdef01234567", nil).Reveal()
		var first error
		for name, key := range map[string]string{
			"deleted": deleted.GetKey(), "wrong secret": wrongSecret, "unknown": unknown, "malformed": "psk_x",
			"wrong checksum": living.GetKey()[:len(living.GetKey())-1] + "!", "almost root": rootKey + "r", "root cut": rootKey[1:],
			"a display prefix": living.GetPrefix(),
		} {
			_, err := f.verify(t.Context(), key)
			require.Error(t, err, name)
			requireFailure(t, err, codes.Unauthenticated, "API_KEY_INVALID")
			if first == nil {
				first = err
			}
			require.Equal(t, first.Error(), err.Error(), name)
		}
		_, err = f.verify(t.Context(), living.GetKey())
		require.NoError(t, err)
		require.NotContains(t, f.logs.String(), "psk_")
		require.Equal(t, 4, testutil.CollectAndCount(f.metrics, "prosa_accounts_key_verifications_total"))
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The hash needs the installation's secret: with another one the stored keys are worth nothing.
func TestHashesDependOnTheSecretKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		key := f.createKey(t, "acme", "manage")
		same := newFixture(t, f.db)
		_, err := same.verify(t.Context(), key.GetKey())
		require.NoError(t, err, "after a restart keys still work")

		var hash []byte
		require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), `SELECT secret_hash FROM api_key WHERE instance = $1`, "acme").Scan(&hash))
		binary.BigEndian.PutUint64(hash, ^binary.BigEndian.Uint64(hash))
		_, err = f.db.Exec1(t.Context(), `UPDATE api_key SET secret_hash = $2 WHERE instance = $1`, "acme", hash)
		require.NoError(t, err)
		_, err = same.verify(t.Context(), key.GetKey())
		requireFailure(t, err, codes.Unauthenticated, "API_KEY_INVALID")
	})
}

func TestKeysOfAnotherInstanceAreNotFound(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		f.createInstance(t, "other")
		key := f.createKey(t, "acme", "manage")
		for _, id := range []string{key.GetId(), "0123456789abcdef01234567", "nonsense\x00"} {
			_, err := f.manage.GetApiKey(t.Context(), &accountsv1.GetApiKeyRequest{Instance: "other", Id: id})
			requireFailure(t, err, codes.NotFound, "API_KEY_NOT_FOUND")
			_, err = f.manage.DeleteApiKey(t.Context(), &accountsv1.DeleteApiKeyRequest{Instance: "other", Id: id})
			requireFailure(t, err, codes.NotFound, "API_KEY_NOT_FOUND")
		}
		_, err := f.verify(t.Context(), key.GetKey())
		require.NoError(t, err)
	})
}

func TestListApiKeysWalk(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		var want []string
		for range 5 {
			want = append(want, f.createKey(t, "acme", "manage").GetId())
			f.clock.Advance(time.Microsecond)
		}
		var seen []string
		token := ""
		for page := 0; ; page++ {
			response, err := f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "acme", PageSize: 2, PageToken: token})
			require.NoError(t, err)
			for _, k := range response.GetApiKeys() {
				seen = append(seen, k.GetId())
			}
			if page == 0 {
				_, err := f.manage.DeleteApiKey(t.Context(), &accountsv1.DeleteApiKeyRequest{Instance: "acme", Id: seen[1]})
				require.NoError(t, err, "the walk goes on from a row that is gone")
			}
			if token = response.GetNextPageToken(); token == "" {
				break
			}
		}
		require.Equal(t, want, seen)
	})
}

func TestLastUseIsWrittenBehind(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		key := f.createKey(t, "acme", "manage")
		lastUse := func() time.Time {
			response, err := f.manage.GetApiKey(t.Context(), &accountsv1.GetApiKeyRequest{Instance: "acme", Id: key.GetId()})
			require.NoError(t, err)
			if response.GetApiKey().GetLastUseTime() == nil {
				return time.Time{}
			}
			return response.GetApiKey().GetLastUseTime().AsTime()
		}
		writes := f.db.Stats().Writes
		for range 10 {
			_, err := f.verify(t.Context(), key.GetKey())
			require.NoError(t, err)
		}
		require.Equal(t, writes, f.db.Stats().Writes, "to verify a key writes nothing")
		require.Zero(t, lastUse())

		f.runWorkersUntilStopped(t)
		require.Equal(t, start.Truncate(time.Minute), lastUse())

		// In the same minute nothing is written again.
		_, err := f.verify(t.Context(), key.GetKey())
		require.NoError(t, err)
		writes = f.db.Stats().Writes
		f.flush(t)
		require.Equal(t, writes, f.db.Stats().Writes)

		f.clock.Advance(time.Minute)
		_, err = f.verify(t.Context(), key.GetKey())
		require.NoError(t, err)
		f.flush(t)
		require.Equal(t, start.Truncate(time.Minute).Add(time.Minute), lastUse())
	})
}

// runWorkersUntilStopped starts all workers and stops them at once: what they hold is then stored.
func (f *fixture) runWorkersUntilStopped(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, w := range f.service.Workers() {
		require.NoError(t, w.Run(ctx), w.Name())
	}
}

func (f *fixture) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, f.worker(t, "accounts-key-use").Run(ctx))
}

func (f *fixture) worker(t *testing.T, name string) lifecycle.Worker {
	t.Helper()
	for _, w := range f.service.Workers() {
		if w.Name() == name {
			return w
		}
	}
	require.Fail(t, "no worker "+name)
	return nil
}

func TestNewRefusesShortRootKeys(t *testing.T) {
	_, err := accounts.New(accounts.Config{RootKey: strings.Repeat("r", accounts.MinRootKeyLength-1)}, accounts.Deps{})
	require.ErrorIs(t, err, accounts.ErrRootKeyTooShort)
}

func TestClosedStore(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		require.NoError(t, f.service.Ready(t.Context()))
		f.createInstance(t, "acme")
		key := f.createKey(t, "acme", "manage")
		_, err := f.verify(t.Context(), key.GetKey())
		require.NoError(t, err)
		require.NoError(t, f.db.Close())
		require.Error(t, f.service.Ready(t.Context()))
		_, err = f.manage.CreateInstance(t.Context(), &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "late"}})
		requireFailure(t, err, codes.Unavailable, "UNAVAILABLE")
		f.flush(t) // logs, and keeps what it could not store
		require.Contains(t, f.logs.String(), "record uses of API keys")
		require.NotContains(t, f.logs.String(), key.GetId())
	})
}
