package pagetoken_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestSize(t *testing.T) {
	for asked, want := range map[int32]int{math.MinInt32: 50, -1: 50, 0: 50, 1: 1, 499: 499, 500: 500, 501: 500, math.MaxInt32: 500} {
		require.Equal(t, want, pagetoken.Size(asked), "%d", asked)
	}
}

func TestPlace(t *testing.T) {
	codec := pagetoken.New(key, clock.NewManual(start))
	beginning, err := codec.DecodePlace("", instance, scope)
	require.NoError(t, err)
	require.Zero(t, beginning)

	place := pagetoken.Place{Time: start.Add(time.Microsecond), ID: strings.Repeat("a", 24)}
	token := codec.EncodePlace(instance, scope, place)
	got, err := codec.DecodePlace(token, instance, scope)
	require.NoError(t, err)
	require.Equal(t, place, got)

	_, err = codec.DecodePlace(token, "other", scope)
	require.ErrorIs(t, err, pagetoken.ErrInvalid)
	for _, size := range []int{0, 7, 8, 31, 33} {
		_, err = codec.DecodePlace(codec.Encode(instance, scope, make([]byte, size)), instance, scope)
		require.ErrorIs(t, err, pagetoken.ErrInvalid, "a payload of %d bytes", size)
	}
}

func TestViolation(t *testing.T) {
	require.Equal(t, rpcerr.Violation{Field: "pageToken", Reason: "has expired"},
		pagetoken.Violation("pageToken", fmt.Errorf("decode: %w", pagetoken.ErrExpired)))
	require.Equal(t, rpcerr.Violation{Field: "pagination", Reason: "is not a token of this list"},
		pagetoken.Violation("pagination", pagetoken.ErrInvalid))
}
