package signing

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func box(t *testing.T) *secretbox.Box {
	t.Helper()
	b, err := secretbox.New(strings.Repeat("k", 32))
	require.NoError(t, err)
	return b
}

func revealed(secrets []webhook.Secret) []string {
	texts := make([]string, len(secrets))
	for i, s := range secrets {
		texts[i] = s.Reveal()
	}
	return texts
}

func TestAReplacedSecretSignsForADayMore(t *testing.T) {
	first := New(nil)
	require.Equal(t, []string{first.Current().Reveal()}, revealed(first.At(start)))
	second, err := first.Rotate(start, nil)
	require.NoError(t, err)
	require.NotEqual(t, first.Current().Reveal(), second.Current().Reveal())
	both := []string{second.Current().Reveal(), first.Current().Reveal()}
	require.Equal(t, both, revealed(second.At(start)), "newest first")
	require.Equal(t, both, revealed(second.At(start.Add(Overlap-time.Microsecond))))
	require.Equal(t, both[:1], revealed(second.At(start.Add(Overlap))))
	require.Len(t, first.At(start), 1, "a ring never changes")
}

func TestARotationWithinTheDayEndsNoPromise(t *testing.T) {
	ring := New(nil)
	names := []string{ring.Current().Reveal()}
	for i := range MaxSecrets - 1 {
		var err error
		ring, err = ring.Rotate(start.Add(time.Duration(i)*time.Hour), nil)
		require.NoError(t, err)
		names = append([]string{ring.Current().Reveal()}, names...)
	}
	last := start.Add((MaxSecrets - 2) * time.Hour)
	require.Equal(t, names, revealed(ring.At(last)))

	_, err := ring.Rotate(last, nil)
	var tooMany *TooManyError
	require.ErrorAs(t, err, &tooMany)
	require.ErrorIs(t, err, ErrTooMany)
	require.Equal(t, start.Add(Overlap), tooMany.Until, "when the first of them ends")
	_, err = ring.Rotate(tooMany.Until.Add(-time.Microsecond), nil)
	require.ErrorIs(t, err, ErrTooMany)
	next, err := ring.Rotate(tooMany.Until, nil)
	require.NoError(t, err)
	require.Equal(t, append([]string{next.Current().Reveal()}, names[:MaxSecrets-1]...), revealed(next.At(tooMany.Until)))

	// One after the other they end, oldest first.
	for i := range MaxSecrets - 1 {
		at := start.Add(time.Duration(i)*time.Hour + Overlap)
		require.Equal(t, names[:MaxSecrets-1-i], revealed(ring.At(at)))
	}
}

func TestSealedRingsComeBack(t *testing.T) {
	b := box(t)
	ring := New(nil)
	for i := range MaxSecrets {
		sealed, err := ring.Seal(b, "c")
		require.NoError(t, err)
		require.False(t, bytes.Contains(sealed, []byte("whsec_")))
		opened, err := Open(b, sealed, "c")
		require.NoError(t, err)
		require.Equal(t, revealed(ring.secrets), revealed(opened.secrets))
		require.Equal(t, ring.until, opened.until)
		_, err = Open(b, sealed, "another")
		require.Error(t, err)
		if i < MaxSecrets-1 {
			ring, err = ring.Rotate(start.Add(time.Duration(i)*time.Microsecond), nil)
			require.NoError(t, err)
		}
	}
}

func TestWhatIsNoRingIsRefusedWithoutRepeatingIt(t *testing.T) {
	b := box(t)
	secret := webhook.NewSecret(nil).Reveal()
	for _, text := range []string{
		"", "x", secret + "\n", secret + "\n" + secret, secret + "\n1 ", secret + "\nx " + secret, secret + "\n1 " + secret + "x",
		strings.TrimSuffix(strings.Repeat(secret+"\n1 ", MaxSecrets+1), "\n1 "),
	} {
		sealed, err := b.Seal([]byte(text), "c")
		require.NoError(t, err)
		_, err = Open(b, sealed, "c")
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), secret)
	}
}

func TestTheZeroRingSignsNothing(t *testing.T) {
	require.Empty(t, Ring{}.At(start))
	require.True(t, Ring{}.Current().IsZero())
	ring, err := Ring{}.Rotate(start, nil)
	require.NoError(t, err)
	require.Len(t, ring.At(start), 1)
}

func TestRingsPrintNoSecret(t *testing.T) {
	ring := New(nil)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", ring, ring, ring), ring.Current().Reveal()[6:])
}

func TestAskingForSecretsAllocatesNothing(t *testing.T) {
	ring, err := New(nil).Rotate(start, nil)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = ring.At(start) }))
}
