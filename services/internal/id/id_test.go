package id_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewIsSecondsThenRandom(t *testing.T) {
	c := clock.NewManual(time.Unix(0x0badcafe, 999_999_999))
	s := id.NewSource(c, bytes.NewReader([]byte{1, 2, 3, 4, 5, 6, 7, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}))
	require.Equal(t, "0badcafe01020304050607ff", s.New())
	c.Advance(1)
	require.Equal(t, "0badcaff0000000000000001", s.New())
	require.Panics(t, func() { s.New() }, "the source has run dry")
}

func TestNewOrderedIsTimeThenRandom(t *testing.T) {
	c := clock.NewManual(time.Unix(0x0badcafe, 999_999_999))
	s := id.NewSource(c, bytes.NewReader([]byte{1, 2, 3, 4, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0}))
	require.Equal(t, "0badcafeee6b270102030405", s.NewOrdered())
	c.Advance(1)
	earlier := s.NewOrdered()
	require.Equal(t, "0badcaff000000ffffffffff", earlier)
	c.Advance(64)
	require.Greater(t, s.NewOrdered(), earlier, "64 ns later")
	require.Panics(t, func() { s.NewOrdered() }, "the source has run dry")
}

func TestOrderedFromIsBetweenIdentifiers(t *testing.T) {
	c := clock.NewManual(time.Unix(1_700_000_000, 999_999_936)) // a multiple of 64 ns
	s := id.NewSource(c, nil)
	before := s.NewOrdered()
	c.Advance(64)
	from := id.OrderedFrom(c.Now())
	require.Less(t, before, from)
	require.Less(t, from, s.NewOrdered(), "made at that time")
	require.Equal(t, "6553f101000000", from)

	require.Equal(t, "", id.OrderedFrom(time.Unix(-1, 0)))
	require.Equal(t, "00000000000000", id.OrderedFrom(time.Unix(0, 0)))
	require.Equal(t, "ffffffff000000", id.OrderedFrom(time.Unix(1<<32-1, 0)))
	require.Greater(t, id.OrderedFrom(time.Unix(1<<32, 0)), strings.Repeat("f", 24))
	require.Equal(t, "", id.OrderedFrom(time.Time{}))
}

func TestIdentifiersAreUniqueAndValid(t *testing.T) {
	s := id.NewSource(clock.NewManual(time.Unix(1_700_000_000, 0)), nil)
	for _, next := range []func() string{s.New, s.NewOrdered} {
		requireUnique(t, next)
	}
}

func requireUnique(t *testing.T, next func() string) {
	const callers, each = 8, 1000
	made := make([][]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range each {
				made[i] = append(made[i], next())
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, list := range made {
		for _, v := range list {
			require.True(t, id.Valid(v), v)
			require.False(t, seen[v], v)
			seen[v] = true
		}
	}
	require.Len(t, seen, callers*each)
}

func TestValid(t *testing.T) {
	for value, want := range map[string]bool{
		"0123456789abcdef01234567":   true,
		strings.Repeat("f", 24):      true,
		strings.Repeat("0", 23):      false,
		strings.Repeat("0", 25):      false,
		"":                           false,
		"0123456789ABCDEF01234567":   false,
		"0123456789abcdeg01234567":   false,
		"0123456789abcdef0123456/":   false,
		"0123456789abcdef0123456:":   false,
		"0123456789abcdef0123456`":   false,
		"0123456789abcdef012345é":    false,
		"0123456789abcdef01234567\n": false,
	} {
		require.Equal(t, want, id.Valid(value), "%q", value)
	}
}

func BenchmarkNew(b *testing.B) {
	s := id.NewSource(clock.System(), nil)
	b.ReportAllocs()
	for b.Loop() {
		s.New()
	}
}

func TestOrderedTimeIsWhenItWasMade(t *testing.T) {
	made := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	s := id.NewSource(clock.NewManual(made), nil)
	for range 100 {
		require.WithinDuration(t, made, id.OrderedTime(s.NewOrdered()), 64*time.Nanosecond)
	}
	require.Zero(t, id.OrderedTime("no id"))
}
