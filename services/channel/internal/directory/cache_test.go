package directory

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon       = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errMissing = errors.New("missing")
)

// shelf is where the cache reads from.
type shelf struct {
	things map[string]int
	err    error
	reads  int
}

func (s *shelf) get(c *cache[int], id string, now time.Time) (int, error) {
	return c.get(id, now, errMissing, func() (int, error) {
		s.reads++
		if s.err != nil {
			return 0, s.err
		}
		thing, ok := s.things[id]
		if !ok {
			return 0, fmt.Errorf("look up: %w", errMissing)
		}
		return thing, nil
	})
}

func TestWhatIsThereIsReadOnceInTwoSeconds(t *testing.T) {
	var c cache[int]
	s := &shelf{things: map[string]int{"a": 1}}
	for _, now := range []time.Time{noon, noon.Add(ttl - 1)} {
		thing, err := s.get(&c, "a", now)
		require.NoError(t, err)
		require.Equal(t, 1, thing)
	}
	require.Equal(t, 1, s.reads)
	s.things["a"] = 2
	thing, err := s.get(&c, "a", noon.Add(ttl))
	require.NoError(t, err)
	require.Equal(t, 2, thing)
	require.Equal(t, 2, s.reads)
}

func TestWhatIsNotThereIsReadOnceInTwoSeconds(t *testing.T) {
	var c cache[int]
	s := &shelf{things: map[string]int{}}
	for range 10 {
		_, err := s.get(&c, "a", noon)
		require.ErrorIs(t, err, errMissing)
	}
	require.Equal(t, 1, s.reads)
	require.False(t, c.knows("a"))
	_, err := s.get(&c, "a", noon.Add(ttl))
	require.ErrorIs(t, err, errMissing)
	require.Equal(t, 2, s.reads)

	s.things["a"] = 1
	c.forget("a")
	_, err = s.get(&c, "a", noon.Add(ttl))
	require.NoError(t, err, "what this process made is there at once")
	require.True(t, c.knows("a"))
	require.Empty(t, c.absent)
}

func TestOtherErrorsAreNotRemembered(t *testing.T) {
	var c cache[int]
	s := &shelf{err: errors.New("store is away")}
	for range 3 {
		_, err := s.get(&c, "a", noon)
		require.ErrorIs(t, err, s.err)
	}
	require.Equal(t, 3, s.reads)
	require.False(t, c.knows("a"))
}

func TestWhatWasThereIsKnownUntilItIsGone(t *testing.T) {
	var c cache[int]
	s := &shelf{things: map[string]int{"a": 1}}
	_, err := s.get(&c, "a", noon)
	require.NoError(t, err)
	require.True(t, c.knows("a"), "however long ago")
	delete(s.things, "a")
	_, err = s.get(&c, "a", noon.Add(time.Hour))
	require.ErrorIs(t, err, errMissing)
	require.False(t, c.knows("a"))
}

func TestStrangersPushOutNothing(t *testing.T) {
	var c cache[int]
	s := &shelf{things: map[string]int{"a": 1}}
	_, err := s.get(&c, "a", noon)
	require.NoError(t, err)
	for i := range 2*maxEntries + 1 {
		_, err := s.get(&c, fmt.Sprint(i), noon)
		require.ErrorIs(t, err, errMissing)
		require.LessOrEqual(t, len(c.absent), maxEntries)
	}
	require.True(t, c.knows("a"))
	reads := s.reads
	_, err = s.get(&c, "a", noon)
	require.NoError(t, err)
	require.Equal(t, reads, s.reads)
}

func TestAReadThatBeganBeforeAChangeIsNotRemembered(t *testing.T) {
	var c cache[int]
	_, err := c.get("a", noon, errMissing, func() (int, error) {
		c.forget("a")
		return 0, errMissing
	})
	require.ErrorIs(t, err, errMissing)
	_, err = c.get("b", noon, errMissing, func() (int, error) {
		c.forget("b")
		return 1, nil
	})
	require.NoError(t, err)
	require.Empty(t, c.absent)
	require.Empty(t, c.entries)
}
