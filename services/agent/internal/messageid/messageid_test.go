package messageid_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/agent/internal/messageid"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOfPerson(t *testing.T) {
	// It is in answers that callers keep, so it never changes.
	require.Equal(t, "64a1b2c38af8888bc9c4b1e8", messageid.OfPerson("64a1b2c3d4e5f8f9a6b7d0e9"))
	ids := id.NewSource(clock.NewManual(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)), nil)
	seen := map[string]bool{}
	for range 1000 {
		turn := ids.New()
		made := messageid.OfPerson(turn)
		require.True(t, id.Valid(made))
		require.NotEqual(t, turn, made)
		require.Equal(t, turn[:8], made[:8], "the same second")
		require.False(t, seen[made])
		seen[made] = true
		back, ok := messageid.TurnOf(made)
		require.True(t, ok)
		require.Equal(t, turn, back)
	}
}

func TestIDsThatOthersChose(t *testing.T) {
	for _, turn := range []string{"m1", "", "64A1B2C3D4E5F8F9A6B7D0E9", "64a1b2c3d4e5f8f9a6b7d0e9x"} {
		made := messageid.OfPerson(turn)
		require.True(t, id.Valid(made), turn)
		require.Equal(t, made, messageid.OfPerson(turn))
		_, ok := messageid.TurnOf(turn)
		require.False(t, ok, turn)
	}
	require.NotEqual(t, messageid.OfPerson("m1"), messageid.OfPerson("m2"))
}
