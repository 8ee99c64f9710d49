package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// identity is an accounts service whose answers the test gives.
type identity struct {
	verify func(key string) (*accountsv1.VerifyKeyResponse, error)
	lookup func(slug string) (*accountsv1.LookupInstanceResponse, error)
	asked  atomic.Int32
}

func (i *identity) VerifyKey(_ context.Context, in *accountsv1.VerifyKeyRequest, _ ...grpc.CallOption) (*accountsv1.VerifyKeyResponse, error) {
	i.asked.Add(1)
	return i.verify(in.GetKey())
}

func (i *identity) LookupInstance(_ context.Context, in *accountsv1.LookupInstanceRequest, _ ...grpc.CallOption) (*accountsv1.LookupInstanceResponse, error) {
	i.asked.Add(1)
	return i.lookup(in.GetInstance())
}

func acmeKey(string) (*accountsv1.VerifyKeyResponse, error) {
	return &accountsv1.VerifyKeyResponse{Instance: "acme", KeyId: keyID, Scopes: []string{ScopeManage}}, nil
}

func refuse(string) (*accountsv1.VerifyKeyResponse, error) {
	return nil, errKeyInvalid.GRPCStatus().Err()
}

func TestVerifyRemembersTenSecondsAndNoLonger(t *testing.T) {
	manual, far := clock.NewManual(start), &identity{verify: acmeKey}
	v := NewVerifier(far, manual)
	key := apikey.Generate(keyID, nil).Reveal()
	for range 3 {
		p, err := v.Verify(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, Principal{Instance: "acme", KeyID: keyID, Scopes: []string{ScopeManage}}, p)
	}
	require.EqualValues(t, 1, far.asked.Load())

	far.verify = refuse // the key was deleted
	manual.Advance(10*time.Second - 1)
	_, err := v.Verify(t.Context(), key)
	require.NoError(t, err)
	manual.Advance(1)
	_, err = v.Verify(t.Context(), key)
	require.Equal(t, "API_KEY_INVALID", rpcerr.Reason(err))
	require.EqualValues(t, 2, far.asked.Load())
}

func TestVerifyRootKey(t *testing.T) {
	far := &identity{verify: func(string) (*accountsv1.VerifyKeyResponse, error) {
		return &accountsv1.VerifyKeyResponse{Root: true}, nil
	}}
	p, err := NewVerifier(far, clock.NewManual(start)).Verify(t.Context(), rootKey)
	require.NoError(t, err)
	require.Equal(t, Principal{Root: true}, p)
}

func TestVerifyNeverOutlivesTheKey(t *testing.T) {
	manual := clock.NewManual(start)
	far := &identity{verify: func(string) (*accountsv1.VerifyKeyResponse, error) {
		return &accountsv1.VerifyKeyResponse{Instance: "acme", ExpireTime: timestamppb.New(start.Add(3 * time.Second))}, nil
	}}
	v := NewVerifier(far, manual)
	_, err := v.Verify(t.Context(), rootKey)
	require.NoError(t, err)
	manual.Advance(3*time.Second - 1)
	_, err = v.Verify(t.Context(), rootKey)
	require.NoError(t, err)
	require.EqualValues(t, 1, far.asked.Load())
	manual.Advance(1)
	_, err = v.Verify(t.Context(), rootKey) // accounts' clock is behind: it still says yes
	require.Equal(t, "API_KEY_INVALID", rpcerr.Reason(err))
}

func TestVerifyRemembersRefusalsForASecondOrTwo(t *testing.T) {
	manual, far := clock.NewManual(start), &identity{verify: refuse}
	v := NewVerifier(far, manual)
	for range 3 {
		_, err := v.Verify(t.Context(), rootKey)
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	require.EqualValues(t, 1, far.asked.Load())
	far.verify = acmeKey
	manual.Advance(badKeyTTL)
	_, err := v.Verify(t.Context(), rootKey)
	require.NoError(t, err)
}

func TestVerifyDoesNotRememberFailures(t *testing.T) {
	tests := map[string]struct {
		err  error
		want codes.Code
	}{
		"down":     {status.Error(codes.Unavailable, "connection refused: 10.0.0.7"), codes.Unavailable},
		"late":     {status.Error(codes.DeadlineExceeded, "x"), codes.Unavailable},
		"broken":   {status.Error(codes.Internal, "x"), codes.Internal},
		"nonsense": {errors.New("x"), codes.Internal},
		"panic":    {nil, codes.Internal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			far := &identity{verify: func(string) (*accountsv1.VerifyKeyResponse, error) {
				if test.err == nil {
					panic("x")
				}
				return nil, test.err
			}}
			v := NewVerifier(far, clock.NewManual(start))
			_, err := v.Verify(t.Context(), rootKey)
			require.Equal(t, test.want, status.Code(err))
			require.NotContains(t, status.Convert(err).Message(), "10.0.0.7")
			far.verify = acmeKey
			_, err = v.Verify(t.Context(), rootKey)
			require.NoError(t, err)
		})
	}
}

func TestVerifySharesOneQuestion(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	far := &identity{verify: func(string) (*accountsv1.VerifyKeyResponse, error) {
		entered <- struct{}{}
		<-release
		return acmeKey("")
	}}
	v := NewVerifier(far, clock.NewManual(start))

	// The first caller goes away while it waits; the others still get their answer.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := v.Verify(ctx, rootKey)
		gone <- err
	}()
	<-entered
	cancel()
	require.Equal(t, codes.Canceled, status.Code(<-gone))

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := v.Verify(context.Background(), rootKey)
			assert.NoError(t, err)
		})
	}
	close(release)
	wg.Wait()
	require.EqualValues(t, 1, far.asked.Load())
}

func TestVerifyIsBoundedAndGuessesPushNoGoodKeyOut(t *testing.T) {
	far := &identity{verify: func(key string) (*accountsv1.VerifyKeyResponse, error) {
		if key == rootKey {
			return acmeKey("")
		}
		return refuse("")
	}}
	v := NewVerifier(far, clock.NewManual(start)).(*verifier)
	_, err := v.Verify(t.Context(), rootKey)
	require.NoError(t, err)
	for i := range maxBadKeys + 100 {
		_, err := v.Verify(t.Context(), fmt.Sprintf("guess number %d", i))
		require.Error(t, err)
	}
	require.Len(t, v.cache.bad, maxBadKeys)
	require.Len(t, v.cache.good, 1)
	asked := far.asked.Load()
	_, err = v.Verify(t.Context(), rootKey)
	require.NoError(t, err)
	require.Equal(t, asked, far.asked.Load())
	for stored := range v.cache.good {
		require.NotContains(t, stored, rootKey, "keys are remembered by their hash")
		require.Len(t, stored, 32)
	}
}

func TestCacheMakesRoom(t *testing.T) {
	manual := clock.NewManual(start)
	c := newCache[int](manual, 3, 3, time.Second, func(error) bool { return false })
	for i := range 50 {
		got, err := c.get(t.Context(), fmt.Sprint(i), func(context.Context) (int, time.Time, error) { return i, manual.Now().Add(time.Second), nil })
		require.NoError(t, err)
		require.Equal(t, i, got)
		require.LessOrEqual(t, len(c.good), 3)
	}
	manual.Advance(time.Second)
	_, err := c.get(t.Context(), "new", func(context.Context) (int, time.Time, error) { return 1, manual.Now().Add(time.Second), nil })
	require.NoError(t, err)
	require.Len(t, c.good, 1, "what no longer holds goes first")
}

func TestInstances(t *testing.T) {
	manual := clock.NewManual(start)
	exists := true
	far := &identity{lookup: func(slug string) (*accountsv1.LookupInstanceResponse, error) {
		if !exists {
			return nil, instanceNotFound(slug).GRPCStatus().Err()
		}
		return &accountsv1.LookupInstanceResponse{Instance: &accountsv1.Instance{Slug: slug}}, nil
	}}
	instances := NewInstances(far, manual)
	for range 3 {
		instance, err := instances.Get(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "acme", instance.GetSlug())
	}
	require.EqualValues(t, 1, far.asked.Load())
	manual.Advance(10*time.Second - 1)
	_, err := instances.Get(t.Context(), "acme")
	require.NoError(t, err)
	require.EqualValues(t, 1, far.asked.Load())
	manual.Advance(1)
	exists = false
	for range 3 {
		_, err = instances.Get(t.Context(), "acme")
		require.Equal(t, "INSTANCE_NOT_FOUND", rpcerr.Reason(err))
		require.Equal(t, map[string]string{"instance": "acme"}, rpcerr.Metadata(status.Convert(err)))
	}
	require.EqualValues(t, 2, far.asked.Load(), "a missing instance is remembered too")
	exists = true
	manual.Advance(noInstanceTTL)
	_, err = instances.Get(t.Context(), "acme")
	require.NoError(t, err, "but not for long")
}

func TestInstancesDoesNotAskForWhatCannotBe(t *testing.T) {
	far := &identity{}
	instances := NewInstances(far, clock.NewManual(start))
	for _, slug := range []string{"", string(make([]byte, maxSlugLength+1))} {
		_, err := instances.Get(t.Context(), slug)
		require.Equal(t, "INSTANCE_NOT_FOUND", rpcerr.Reason(err))
	}
	require.Zero(t, far.asked.Load())
}

func TestInstancesPassesFailuresOn(t *testing.T) {
	for code, want := range map[codes.Code]codes.Code{
		codes.Unavailable: codes.Unavailable, codes.Internal: codes.Internal, codes.InvalidArgument: codes.NotFound, codes.PermissionDenied: codes.Unavailable,
	} {
		far := &identity{lookup: func(string) (*accountsv1.LookupInstanceResponse, error) { return nil, status.Error(code, "x") }}
		_, err := NewInstances(far, clock.NewManual(start)).Get(t.Context(), "acme")
		require.Equal(t, want, status.Code(err), code)
	}
}
