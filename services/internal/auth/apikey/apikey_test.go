package apikey_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const keyID = "5f1b0c8e9d3a4b2c1d0e9f8a"

func TestFormIsPinned(t *testing.T) {
	key := apikey.Generate(keyID, bytes.NewReader(make([]byte, apikey.SecretBytes)))
	require.Equal(t, "psk_5f1b0c8e9d3a4b2c1d0e9f8a_00000000000000000000000000000000000000000004ZRpeF", key.Reveal())
	key = apikey.Generate(keyID, bytes.NewReader(bytes.Repeat([]byte{0xff}, apikey.SecretBytes)))
	require.Len(t, key.Reveal(), apikey.Length)
	require.Regexp(t, regexp.MustCompile(`^psk_[0-9a-f]{24}_[0-9A-Za-z]{49}$`), key.Reveal())
}

func TestGeneratedKeysParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), apikey.SecretBytes, apikey.SecretBytes).Draw(t, "secret")
		key := apikey.Generate(keyID, bytes.NewReader(secret))
		parsed, err := apikey.Parse(key.Reveal())
		require.NoError(t, err)
		require.Equal(t, key, parsed)
	})
}

func TestGeneratedKeysDiffer(t *testing.T) {
	require.NotEqual(t, apikey.Generate(keyID, nil), apikey.Generate(keyID, nil))
}

func TestEveryChangedCharacterIsNoticed(t *testing.T) {
	text := apikey.Generate(keyID, nil).Reveal()
	for i := range len(text) {
		for _, c := range []byte("0aZ_-\x00\xff") {
			if text[i] == c {
				continue
			}
			changed := text[:i] + string(c) + text[i+1:]
			if c == 0xff {
				changed = text[:i] + "\xff" + text[i+1:]
			}
			_, err := apikey.Parse(changed)
			require.ErrorIs(t, err, apikey.ErrMalformed, "position %d", i)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := apikey.Generate(keyID, nil).Reveal()
	for name, text := range map[string]string{
		"nothing": "", "prefix": "psk_", "cut": good[:len(good)-1], "longer": good + "0", "no prefix": strings.TrimPrefix(good, "psk_"),
		"capital prefix": "PSK_" + good[4:], "space": " " + good[:len(good)-1], "huge": strings.Repeat(good, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apikey.Parse(text)
			require.ErrorIs(t, err, apikey.ErrMalformed)
			require.NotContains(t, err.Error(), keyID)
		})
	}
}

func TestPrintingAKeyShowsNoSecret(t *testing.T) {
	key := apikey.Generate(keyID, nil)
	for _, text := range []string{key.String(), fmt.Sprintf("%v %+v %#v %s", key, key, key, key), fmt.Sprint(&key)} {
		require.NotContains(t, text, key.Secret)
		require.Contains(t, text, keyID)
	}
}

func TestGenerateDoesNotGuess(t *testing.T) {
	require.Panics(t, func() { apikey.Generate("x", nil) })
	require.Panics(t, func() { apikey.Generate(keyID, failingReader{}) })
	require.Panics(t, func() { apikey.Generate(keyID, strings.NewReader("short")) })
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func FuzzParse(f *testing.F) {
	f.Add(apikey.Generate(keyID, bytes.NewReader(make([]byte, apikey.SecretBytes))).Reveal())
	f.Add("psk_")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := apikey.Parse(text); err == nil {
			require.Equal(t, text, key.Reveal())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := apikey.Generate(keyID, nil).Reveal()
	for b.Loop() {
		_, _ = apikey.Parse(text)
	}
}
