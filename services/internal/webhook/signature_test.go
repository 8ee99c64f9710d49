package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

func headers(id string, ts time.Time, signature string) http.Header {
	header := http.Header{}
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", formatTimestamp(ts))
	header.Set("webhook-signature", signature)
	return header
}

// The vector is that of the specification's own libraries.
func TestSignKnownVector(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`), secret))
}

func TestSignIsVerifiedByTheReferenceLibrary(t *testing.T) {
	newer, older := NewSecret(nil), NewSecret(nil)
	now := time.Now()
	for _, body := range []string{"", "{}", "Olá\n\x00", strings.Repeat("x", 1<<16)} {
		header := headers("id-1", now, Sign("id-1", now, []byte(body), newer, older))
		for _, secret := range []Secret{newer, older} {
			reference, err := standardwebhooks.NewWebhook(secret.Reveal())
			require.NoError(t, err)
			require.NoError(t, reference.Verify([]byte(body), header))
			require.Error(t, reference.Verify([]byte(body+"!"), header))
		}
	}
}

func TestReferenceSignatureIsVerified(t *testing.T) {
	secret := NewSecret(nil)
	now := time.Now()
	reference, err := standardwebhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	signature, err := reference.Sign("id-1", now, []byte("{}"))
	require.NoError(t, err)
	require.NoError(t, Verify(headers("id-1", now, signature), []byte("{}"), now, NewSecret(nil), secret))
	require.ErrorIs(t, Verify(headers("id-1", now, signature), []byte("{}"), now, NewSecret(nil)), ErrSignature)
}

func TestVerify(t *testing.T) {
	secret := NewSecret(nil)
	now := time.Unix(1_700_000_000, 0).UTC()
	body := []byte(`{"a":1}`)
	good := Sign("id", now, body, secret)
	set := func(name, value string) http.Header {
		header := headers("id", now, good)
		header.Set(name, value)
		return header
	}
	for name, test := range map[string]struct {
		header http.Header
		now    time.Time
		want   error
	}{
		"good":                     {headers("id", now, good), now, nil},
		"other versions beside":    {headers("id", now, "v1a,zzz v2,x  "+good), now, nil},
		"at the tolerance, late":   {headers("id", now, good), now.Add(Tolerance), nil},
		"at the tolerance, early":  {headers("id", now, good), now.Add(-Tolerance), nil},
		"past the tolerance":       {headers("id", now, good), now.Add(Tolerance + 1), ErrTimestamp},
		"before the tolerance":     {headers("id", now, good), now.Add(-Tolerance - 1), ErrTimestamp},
		"no id":                    {set("webhook-id", ""), now, ErrHeaders},
		"no timestamp":             {set("webhook-timestamp", ""), now, ErrHeaders},
		"no signature":             {set("webhook-signature", ""), now, ErrHeaders},
		"timestamp no number":      {set("webhook-timestamp", "now"), now, ErrHeaders},
		"timestamp spelt else":     {set("webhook-timestamp", "+1700000000"), now, ErrHeaders},
		"timestamp too large":      {set("webhook-timestamp", "99999999999999999999"), now, ErrHeaders},
		"timestamp far off":        {set("webhook-timestamp", "9223372036854775807"), now, ErrTimestamp},
		"another id":               {set("webhook-id", "id2"), now, ErrSignature},
		"another second":           {set("webhook-timestamp", "1700000001"), now, ErrSignature},
		"signature cut":            {set("webhook-signature", good[:len(good)-1]), now, ErrSignature},
		"signature without v1":     {set("webhook-signature", good[3:]), now, ErrSignature},
		"last of many":             {set("webhook-signature", strings.Repeat("v1,"+strings.Repeat("A", 44)+" ", maxSignatures-1)+good), now, nil},
		"one past the most looked": {set("webhook-signature", strings.Repeat("v1,"+strings.Repeat("A", 44)+" ", maxSignatures)+good), now, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, Verify(test.header, body, test.now, Secret{}, secret), test.want)
		})
	}
	require.ErrorIs(t, Verify(headers("id", now, good), body, now), ErrSignature, "no secret verifies nothing")
	require.ErrorIs(t, Verify(headers("id", now, good), body, now, Secret{}), ErrSignature)
}

func TestSecretSizes(t *testing.T) {
	for size, valid := range map[int]bool{0: false, 23: false, 24: true, 32: true, 64: true, 65: false, 66: false, 1000: false} {
		text := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, size))
		secret, err := ParseSecret(text)
		if !valid {
			require.ErrorIs(t, err, ErrSecret, size)
			require.True(t, secret.IsZero())
			continue
		}
		require.NoError(t, err, size)
		require.Equal(t, text, secret.Reveal())
	}
	for _, text := range []string{"", "whsec_", "whsec_!!!!", base64.StdEncoding.EncodeToString(make([]byte, 32)), "WHSEC_" + base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		_, err := ParseSecret(text)
		require.ErrorIs(t, err, ErrSecret)
	}
}

func TestNewSecret(t *testing.T) {
	fixed := NewSecret(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	require.Equal(t, "whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)), fixed.Reveal())
	require.NotEqual(t, NewSecret(nil).Reveal(), NewSecret(nil).Reveal())
	require.Panics(t, func() { NewSecret(bytes.NewReader(make([]byte, 31))) })
}

func TestSecretIsMaskedWhereverItIsPrinted(t *testing.T) {
	secret := NewSecret(nil)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret, "list", []Secret{secret})
	printed := fmt.Sprintf("%v %+v %#v %s %q %v %+v", secret, secret, secret, secret, secret, []Secret{secret}, struct{ S Secret }{secret}) + log.String()
	require.NotContains(t, printed, secret.Reveal()[6:])
	require.NotContains(t, printed, fmt.Sprintf("%d", secret.key)[1:20])
	require.Contains(t, printed, "whsec_***")
	require.Empty(t, Secret{}.Reveal())
	require.Equal(t, "whsec_***", Secret{}.String())
}

func TestSignAllocatesOnlyItsAnswer(t *testing.T) {
	if raceDetector {
		t.Skip("allocations cannot be counted under the race detector")
	}
	secrets := []Secret{NewSecret(nil), NewSecret(nil)}
	body := bytes.Repeat([]byte("x"), 500)
	require.Empty(t, Sign("id", time.Unix(0, 0), body, Secret{}))
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _ = sign("id", "1700000000", body, secrets) }), 1.0)
}

func FuzzParseSignatures(f *testing.F) {
	f.Add("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	f.Add("v1a,x v1, v1,y  ,")
	f.Add(strings.Repeat("v1,"+strings.Repeat("A", 44)+" ", 40))
	secret := NewSecret(nil)
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, header string) {
		signatures, count := parseSignatures(header)
		require.LessOrEqual(t, count, maxSignatures)
		for _, signature := range signatures[:count] {
			require.Len(t, signature, signatureLength)
			require.Contains(t, header, signature)
		}
		err := Verify(headers("id", now, header), nil, now, secret)
		require.True(t, errors.Is(err, ErrSignature) || errors.Is(err, ErrHeaders), "a header made without the secret verified: %v", err)
		require.NoError(t, Verify(headers("id", now, Sign("id", now, nil, secret)+" "+header), nil, now, secret))
	})
}
