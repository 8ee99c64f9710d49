package pagetoken_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	key   = bytes.Repeat([]byte{7}, pagetoken.KeySize)
	start = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
)

const (
	instance = "acme"
	scope    = "ListAttendances?status=OPEN"
)

func TestRoundTrip(t *testing.T) {
	c := clock.NewManual(start)
	for _, payload := range [][]byte{nil, {0}, []byte("2026-03-01T09:30:00Z|0123"), bytes.Repeat([]byte{0xff}, 1487)} {
		token := pagetoken.New(key, c).Encode(instance, scope, payload)
		require.LessOrEqual(t, len(token), pagetoken.MaxLength)
		require.Regexp(t, `^[A-Za-z0-9_-]+$`, token)
		got, err := pagetoken.New(key, c).Decode(token, instance, scope)
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))
	}
}

func TestPayloadCannotBeRead(t *testing.T) {
	token := pagetoken.New(key, clock.NewManual(start)).Encode(instance, scope, []byte("Maria da Silva"))
	raw, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "Maria")
	require.NotContains(t, string(raw), instance)
}

func TestDecodeRefuses(t *testing.T) {
	c := clock.NewManual(start)
	codec := pagetoken.New(key, c)
	token := codec.Encode(instance, scope, []byte("position"))
	other := pagetoken.New(bytes.Repeat([]byte{8}, pagetoken.KeySize), c)

	for name, test := range map[string]struct{ token, instance, scope string }{
		"empty":             {"", instance, scope},
		"not base64":        {"!" + token, instance, scope},
		"padded":            {token + "=", instance, scope},
		"line break":        {token[:8] + "\n" + token[8:], instance, scope},
		"other instance":    {token, "acme2", scope},
		"other scope":       {token, instance, scope + "&x"},
		"shifted boundary":  {token, instance + scope[:1], scope[1:]},
		"forged, other key": {other.Encode(instance, scope, []byte("position")), instance, scope},
		"too long":          {strings.Repeat("A", pagetoken.MaxLength+1), instance, scope},
		"longest, nonsense": {strings.Repeat("A", pagetoken.MaxLength), instance, scope},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := codec.Decode(test.token, test.instance, test.scope)
			require.ErrorIs(t, err, pagetoken.ErrInvalid)
		})
	}

	t.Run("cut", func(t *testing.T) {
		for n := range len(token) {
			_, err := codec.Decode(token[:n], instance, scope)
			require.ErrorIs(t, err, pagetoken.ErrInvalid, "first %d", n)
			_, err = codec.Decode(token[n+1:], instance, scope)
			require.ErrorIs(t, err, pagetoken.ErrInvalid, "after %d", n)
		}
	})
	t.Run("changed", func(t *testing.T) {
		for i := range token {
			changed := []byte(token)
			if changed[i] == 'A' {
				changed[i] = 'B'
			} else {
				changed[i] = 'A'
			}
			_, err := codec.Decode(string(changed), instance, scope)
			require.ErrorIs(t, err, pagetoken.ErrInvalid, "character %d", i)
		}
	})
}

func TestExpires(t *testing.T) {
	c := clock.NewManual(start)
	codec := pagetoken.New(key, c)
	token := codec.Encode(instance, scope, []byte("position"))

	c.Advance(pagetoken.Lifetime - 1)
	_, err := codec.Decode(token, instance, scope)
	require.NoError(t, err)
	c.Advance(1)
	_, err = codec.Decode(token, instance, scope)
	require.ErrorIs(t, err, pagetoken.ErrExpired)
	_, err = codec.Decode(token, "other", scope)
	require.ErrorIs(t, err, pagetoken.ErrInvalid, "a stranger does not learn that it was genuine")
}

func TestWrongKeySizePanics(t *testing.T) {
	for _, size := range []int{0, pagetoken.KeySize - 1, pagetoken.KeySize + 1} {
		require.Panics(t, func() { pagetoken.New(make([]byte, size), clock.NewManual(start)) })
	}
}

// made is a token for the payload "position" and pins the format: a change of it breaks every walk that is under way.
const made = "AamWJNvhsIyn_S1fzk7Ja-r5rA3JkGCbdroRMMsw3yIX7hEBJeKbNw8SgG9p1TozLgGXXM73lwa0"

func TestFormatIsStable(t *testing.T) {
	payload, err := pagetoken.New(key, clock.NewManual(start)).Decode(made, instance, scope)
	require.NoError(t, err)
	require.Equal(t, "position", string(payload))
}

func FuzzDecode(f *testing.F) {
	codec := pagetoken.New(key, clock.NewManual(start))
	f.Add("")
	f.Add(made)
	f.Add(made[:len(made)-1])
	f.Add(strings.Repeat("A", pagetoken.MaxLength))
	f.Add("\x00\xff=")
	f.Fuzz(func(t *testing.T, token string) {
		payload, err := codec.Decode(token, instance, scope)
		if token == made {
			require.NoError(t, err)
			require.Equal(t, "position", string(payload))
			return
		}
		require.ErrorIs(t, err, pagetoken.ErrInvalid, "nobody can make a token without the key")
		require.Nil(t, payload)
	})
}
