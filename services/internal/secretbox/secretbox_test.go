package secretbox_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key     = "0123456789abcdef0123456789abcdef"
	context = "channel/secret/acme/0123456789abcdef01234567"
)

func TestKeyLength(t *testing.T) {
	_, err := secretbox.New(strings.Repeat("k", secretbox.MinKeyLength-1))
	require.ErrorIs(t, err, secretbox.ErrKeyTooShort)
	_, err = secretbox.New(strings.Repeat("k", secretbox.MinKeyLength))
	require.NoError(t, err)
}

func TestSealOpens(t *testing.T) {
	box := open(t, key)
	for _, plain := range [][]byte{nil, {0}, []byte("whsec_abc"), bytes.Repeat([]byte("x"), 1<<16)} {
		sealed, err := box.Seal(plain, context)
		require.NoError(t, err)
		require.Len(t, sealed, len(plain)+41)
		again, err := box.Seal(plain, context)
		require.NoError(t, err)
		require.NotEqual(t, sealed, again, "the nonce is random")

		got, err := open(t, key).Open(sealed, context)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
	}
}

func TestOpenRefuses(t *testing.T) {
	sealed, err := open(t, key).Seal([]byte("whsec_abc"), context)
	require.NoError(t, err)

	_, err = open(t, key+"x").Open(sealed, context)
	require.ErrorIs(t, err, secretbox.ErrOpen, "another key")
	_, err = open(t, key).Open(sealed, context+"0")
	require.ErrorIs(t, err, secretbox.ErrOpen, "another context")
	for length := range len(sealed) {
		_, err = open(t, key).Open(sealed[:length], context)
		require.ErrorIs(t, err, secretbox.ErrOpen, "cut to %d", length)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		_, err = open(t, key).Open(changed, context)
		require.ErrorIs(t, err, secretbox.ErrOpen, "byte %d changed", i)
	}
}

// Stored secrets and hashed keys depend on these bytes: a change of them is a change of format.
func TestDeriveIsStable(t *testing.T) {
	box := open(t, key)
	require.Equal(t, "749395c0534ab807729651144b11f3af9de21d869b0e1707c0e8664f8bb6a7ed", hex.EncodeToString(box.Derive("page-token")))
	require.Equal(t, box.Derive("a"), open(t, key).Derive("a"))
	require.Len(t, box.Derive("a"), 32)
	require.NotEqual(t, box.Derive("a"), box.Derive("b"))
	require.NotEqual(t, box.Derive("a"), open(t, key+"x").Derive("a"))
}

// A value sealed by the first version opens for ever.
func TestSealedFormatIsStable(t *testing.T) {
	sealed, err := hex.DecodeString("0198ac47ddb88ea08e6e1af745e99629ea91302d6bbe1b0727b2e94a1023e5cd0434ddd158659818c8641579e7bd29b29c0a")
	require.NoError(t, err)
	plain, err := open(t, key).Open(sealed, context)
	require.NoError(t, err)
	require.Equal(t, "whsec_abc", string(plain))
}

func open(t *testing.T, key string) *secretbox.Box {
	t.Helper()
	box, err := secretbox.New(key)
	require.NoError(t, err)
	return box
}
