package testkit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWithoutAServerTestsAreSkipped(t *testing.T) {
	t.Setenv("CI", "")
	skipped := false
	t.Run("test", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		missing(t, "no server")
	})
	require.True(t, skipped)
}

// failing records what a test would end with.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()               {}
func (f *failing) Errorf(string, ...any) {}
func (f *failing) FailNow()              { f.failed = true; panic(f) }

func TestWithoutAServerTestsFailInCI(t *testing.T) {
	t.Setenv("CI", "true")
	f := &failing{TB: t}
	require.PanicsWithValue(t, f, func() { missing(f, "no server") })
	require.True(t, f.failed)
}
