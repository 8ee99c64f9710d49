package idempotency_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func incoming(keys ...string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.MD{idempotency.Metadata: keys})
}

func TestFromContext(t *testing.T) {
	for name, test := range map[string]struct {
		keys []string
		want string
		bad  bool
	}{
		"none":           {},
		"one character":  {keys: []string{"x"}, want: "x"},
		"255 characters": {keys: []string{strings.Repeat("x", 255)}, want: strings.Repeat("x", 255)},
		"with a space":   {keys: []string{"a b~"}, want: "a b~"},
		"empty":          {keys: []string{""}, bad: true},
		"256 characters": {keys: []string{strings.Repeat("x", 256)}, bad: true},
		"a tab":          {keys: []string{"a\tb"}, bad: true},
		"DEL":            {keys: []string{"\x7f"}, bad: true},
		"not ASCII":      {keys: []string{"ção"}, bad: true},
		"two":            {keys: []string{"a", "a"}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, err := idempotency.FromContext(incoming(test.keys...))
			require.Equal(t, test.want, got)
			require.Equal(t, test.want != "", ok)
			if !test.bad {
				require.NoError(t, err)
				return
			}
			require.Equal(t, codes.InvalidArgument, rpcerr.Code(err))
			require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err))
			require.Equal(t, "Idempotency-Key", rpcerr.Violations(status.Convert(err))[0].Field)
		})
	}
	_, ok, err := idempotency.FromContext(ctx)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestOfRequest(t *testing.T) {
	request := &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "acme"}}
	of := func(keys []string, request *accountsv1.CreateInstanceRequest) *idempotency.Key {
		k, err := idempotency.OfRequest(incoming(keys...), "acme", "Create", request)
		require.NoError(t, err)
		return k
	}
	require.Nil(t, of(nil, request))
	first := of([]string{"k"}, request)
	require.Equal(t, "acme", first.Instance)
	require.Equal(t, "Create", first.Scope)
	require.Equal(t, "k", first.Key)
	require.Equal(t, first, of([]string{"k"}, &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "acme"}}))
	other := of([]string{"k"}, &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "other"}})
	require.NotEqual(t, first.Fingerprint, other.Fingerprint)
	_, err := idempotency.OfRequest(incoming(""), "acme", "Create", request)
	require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err))
}

func TestFingerprint(t *testing.T) {
	secret := []byte("secret")
	same := idempotency.Fingerprint(secret, "ab", "c")
	require.Equal(t, same, idempotency.Fingerprint(secret, "ab", "c"))
	for _, other := range [][32]byte{
		idempotency.Fingerprint(secret, "a", "bc"), idempotency.Fingerprint(secret, "abc"),
		idempotency.Fingerprint(secret, "ab", "c", ""), idempotency.Fingerprint([]byte("other"), "ab", "c"),
	} {
		require.NotEqual(t, same, other)
	}
}

func TestErrorsForCallers(t *testing.T) {
	require.Equal(t, codes.AlreadyExists, idempotency.ErrReused.Code())
	require.Equal(t, "IDEMPOTENCY_KEY_REUSED", idempotency.ErrReused.Reason())
	require.Equal(t, codes.Aborted, idempotency.ErrInFlight.Code())
	require.Equal(t, "IDEMPOTENCY_KEY_IN_FLIGHT", idempotency.ErrInFlight.Reason())
}
