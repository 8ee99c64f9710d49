package contacts

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// reader gives every third number, and notes what it was asked for.
type reader struct{ asked [][2]int64 }

func (r *reader) read(low, high int64) (numbers []int64, err error) {
	r.asked = append(r.asked, [2]int64{low, high})
	for n := low; n <= high; n++ {
		if n%3 == 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func TestPicksReadOnlyWhatIsNew(t *testing.T) {
	p, r := newPicks(), &reader{}
	for _, step := range []struct {
		low, high, deleted int64
		anew               bool
		want               []int64
		read               [][2]int64
	}{
		{1, 10, 0, false, []int64{3, 6, 9}, [][2]int64{{1, 10}}},
		{3, 8, 0, false, []int64{3, 6}, nil},
		{4, 5, 0, false, []int64{}, nil},
		{3, 12, 0, false, []int64{3, 6, 9, 12}, [][2]int64{{11, 12}}},
		{3, 12, 1, false, []int64{3, 6, 9, 12}, [][2]int64{{3, 12}}}, // some were deleted
		{3, 12, 0, false, []int64{3, 6, 9, 12}, nil},                 // a walk of before
		{2, 4, 1, false, []int64{3}, [][2]int64{{2, 4}}},             // below what is known
		{2, 4, 1, true, []int64{3}, [][2]int64{{2, 4}}},
		{7, 9, 1, false, []int64{9}, [][2]int64{{5, 9}}},
	} {
		r.asked = nil
		got, err := p.between("filter", step.low, step.high, step.deleted, step.anew, r.read)
		require.NoError(t, err)
		require.Equal(t, step.want, got, "%+v", step)
		require.Equal(t, step.read, r.asked, "%+v", step)
	}
	got, err := p.between("another filter", 1, 3, 0, false, r.read)
	require.NoError(t, err)
	require.Equal(t, []int64{3}, got)
	require.Len(t, p.known, 2)

	failure := errors.New("no store")
	_, err = p.between("a third", 1, 3, 0, false, func(int64, int64) ([]int64, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
	require.Len(t, p.known, 2, "a failure is not remembered")
}

func TestPicksAreBounded(t *testing.T) {
	p := newPicks()
	list := func(n int) func(int64, int64) ([]int64, error) {
		return func(int64, int64) ([]int64, error) { return make([]int64, n), nil }
	}
	for n := range 5 {
		_, err := p.between(n, 1, 1, 0, false, list(maxPicked/2-100))
		require.NoError(t, err)
		require.LessOrEqual(t, p.size, maxPicked)
		require.Len(t, p.known, min(n+1, 2))
	}
	size := p.size
	_, err := p.between("too much", 1, 1, 0, false, list(maxPicked))
	require.NoError(t, err)
	require.Equal(t, size, p.size, "what fits never is not remembered, and drives nothing out")

	_, err = p.between("small", 1, 1, 0, false, list(1))
	require.NoError(t, err)
	for key := range p.known {
		p.drop(key)
	}
	require.Zero(t, p.size, "what is dropped weighs nothing")
}
