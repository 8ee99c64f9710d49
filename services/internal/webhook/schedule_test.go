package webhook

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fraction is a Rand that always says the same.
type fraction float64

func (f fraction) Float64() float64 { return float64(f) }

func TestScheduleDefault(t *testing.T) {
	s := DefaultSchedule()
	want := []string{"5s", "30s", "2m", "10m", "30m", "1h", "3h", "6h", "12h", "24h"}
	require.Equal(t, len(want)+1, s.Attempts())
	for i, text := range want {
		exact, err := time.ParseDuration(text)
		require.NoError(t, err)
		wait, ok := s.Next(i+1, 0, fraction(0.5))
		require.True(t, ok)
		require.InDelta(t, exact, wait, 1)
		shortest, _ := s.Next(i+1, 0, fraction(0))
		require.InDelta(t, float64(exact)*0.8, shortest, 1)
		longest, _ := s.Next(i+1, 0, fraction(0.9999999))
		require.InDelta(t, float64(exact)*1.2, longest, float64(exact)*1e-6)
		require.Less(t, longest, exact*12/10)
	}
	for _, attempt := range []int{-1, 0, len(want) + 1, 1 << 40} {
		_, ok := s.Next(attempt, time.Hour, fraction(0.5))
		require.False(t, ok, attempt)
	}
}

func TestScheduleJitterSpreads(t *testing.T) {
	source := rand.New(rand.NewPCG(1, 2))
	low, high := time.Hour, time.Duration(0)
	for range 1000 {
		wait, _ := DefaultSchedule().Next(1, 0, source)
		low, high = min(low, wait), max(high, wait)
	}
	require.InDelta(t, 4*time.Second, low, float64(50*time.Millisecond))
	require.InDelta(t, 6*time.Second, high, float64(50*time.Millisecond))
}

func TestScheduleRetryAfterOnlyLengthens(t *testing.T) {
	s := DefaultSchedule()
	for _, test := range []struct{ retryAfter, want time.Duration }{
		{0, 30 * time.Second}, {-time.Hour, 30 * time.Second}, {29 * time.Second, 30 * time.Second}, {31 * time.Second, 31 * time.Second},
		{24 * time.Hour, 24 * time.Hour}, {24*time.Hour + 1, 24 * time.Hour}, {1000 * time.Hour, 24 * time.Hour},
	} {
		wait, ok := s.Next(2, test.retryAfter, fraction(0.5))
		require.True(t, ok)
		require.Equal(t, test.want, wait)
	}
}

func TestParseSchedule(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       DefaultSchedule().String(),
		" ":                                      DefaultSchedule().String(),
		"5s,30s,2m":                              "5s,30s,2m0s",
		" 1ms , 168h ":                           "1ms,168h0m0s",
		strings.Repeat("1s,", maxWaits-1) + "1s": strings.Repeat("1s,", maxWaits-1) + "1s",
	} {
		s, err := ParseSchedule(text)
		require.NoError(t, err, text)
		require.Equal(t, want, s.String())
		again, err := ParseSchedule(s.String())
		require.NoError(t, err)
		require.Equal(t, s, again)
	}
	for _, text := range []string{",", "5s,", "5", "0s", "-1s", "168h0m0.001s", "5s;30s", strings.Repeat("1s,", maxWaits) + "1s"} {
		_, err := ParseSchedule(text)
		require.ErrorIs(t, err, ErrSchedule, text)
	}
}

func TestScheduleAsSetting(t *testing.T) {
	s := DefaultSchedule()
	require.Error(t, s.UnmarshalText([]byte("x")))
	require.Equal(t, DefaultSchedule(), s)
	require.NoError(t, s.UnmarshalText([]byte("1s,2s")))
	text, err := s.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "1s,2s", string(text))
	require.Equal(t, 3, s.Attempts())
	require.Equal(t, 1, Schedule{}.Attempts())
}
