package replica

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func newTeller() *Replica {
	r := &Replica{untold: make(map[string]subjects), tell: make(chan struct{}, 1)}
	r.fellows.Store(1)
	return r
}

func TestNothingIsToldWithoutOthers(t *testing.T) {
	r := newTeller()
	r.fellows.Store(0)
	r.Tell("work", "a")
	require.Empty(t, r.untold)
}

func TestTellingIsOneForEachSubject(t *testing.T) {
	r := newTeller()
	for range 10 {
		r.Tell("work", "a")
		r.Tell("work", "b")
		r.Tell("rest", "")
	}
	require.Equal(t, []string{"7 rest work/a work/b"}, payloads("7", r.untold))
	require.Empty(t, payloads("7", nil))
}

func TestManySubjectsAreAny(t *testing.T) {
	r := newTeller()
	for i := range maxSubjects {
		r.Tell("work", fmt.Sprint(i))
	}
	require.Len(t, r.untold["work"], maxSubjects)
	r.Tell("work", "one more")
	r.Tell("work", "and another")
	require.Equal(t, []string{"7 work"}, payloads("7", r.untold))
}

func TestPayloadsFit(t *testing.T) {
	r := newTeller()
	for i := range maxSubjects {
		r.Tell("work", fmt.Sprintf("%064d", i))
	}
	all, words := payloads("7", r.untold), 0
	require.Greater(t, len(all), 1)
	for _, payload := range all {
		require.LessOrEqual(t, len(payload), maxPayload)
		require.True(t, strings.HasPrefix(payload, "7 "))
		words += len(strings.Fields(payload)) - 1
	}
	require.Equal(t, maxSubjects, words)
}
