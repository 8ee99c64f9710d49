package deliveries

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ready(ids ...string) []store.Endpoint {
	all := make([]store.Endpoint, len(ids))
	for i, id := range ids {
		all[i] = store.Endpoint{Instance: "acme", ID: id}
	}
	return all
}

func limits(claims []store.Claim) map[string]int {
	all := map[string]int{}
	for _, c := range claims {
		all[c.ID] = c.Limit
	}
	return all
}

func TestShareGivesEveryEndpointItsPart(t *testing.T) {
	for name, test := range map[string]struct {
		full map[string]int // in flight already, of 4
		free int
		want map[string]int
	}{
		"nothing free":                    {nil, 0, map[string]int{}},
		"room for all":                    {nil, 100, map[string]int{"a": 4, "b": 4, "c": 4}},
		"the same for each":               {nil, 6, map[string]int{"a": 2, "b": 2, "c": 2}},
		"what one cannot take others get": {map[string]int{"a": 3}, 6, map[string]int{"a": 1, "b": 3, "c": 2}},
		"a full one gets nothing":         {map[string]int{"a": 4}, 6, map[string]int{"b": 4, "c": 2}},
		"fewer than endpoints":            {nil, 2, map[string]int{"a": 1, "b": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoints(4)
			for id, n := range test.full {
				require.Equal(t, n, e.enter(id, n))
			}
			require.Equal(t, test.want, limits(e.share(ready("a", "b", "c"), test.free, 0)))
		})
	}
	e := newEndpoints(4)
	require.Equal(t, map[string]int{"b": 1}, limits(e.share(ready("a", "b", "c"), 1, 1)), "the first is another one each time")
	require.Empty(t, e.share(nil, 10, 3))
}

func TestAnEndpointTakesItsLimitAndNotOneMore(t *testing.T) {
	e := newEndpoints(3)
	require.Equal(t, 2, e.enter("a", 2))
	require.Equal(t, 1, e.enter("a", 2))
	require.Zero(t, e.enter("a", 1))
	require.False(t, e.enterOne("a"))
	require.True(t, e.enterOne("b"))
	e.leave("a", 1)
	require.True(t, e.enterOne("a"))
}

func TestAnEndpointThatFailsIsProbedOneByOneUntilItAnswers(t *testing.T) {
	e := newEndpoints(64)
	for range tripAfter - 1 {
		e.learn("a", false, false)
	}
	require.Equal(t, 64, e.room("a"))
	e.learn("a", false, false)
	require.Equal(t, 1, e.room("a"))
	require.True(t, e.enterOne("a"))
	require.Zero(t, e.room("a"))
	e.learn("a", true, false)
	require.Equal(t, 63, e.room("a"))
}

func TestAnEndpointThatAsksForItIsSlowedDown(t *testing.T) {
	e := newEndpoints(64)
	e.learn("a", false, true)
	require.Equal(t, 32, e.room("a"))
	e.learn("a", false, true)
	require.Equal(t, 16, e.room("a"))
	e.learn("a", true, false)
	require.Equal(t, 17, e.room("a"))
	for range 100 {
		e.learn("a", true, false)
	}
	require.Equal(t, 64, e.room("a"))
}

func TestLanesThatWaitComeBeforeNewOnes(t *testing.T) {
	e := newEndpoints(4)
	require.Equal(t, 4, e.enter("a", 4))
	require.False(t, e.queued("a"))
	require.True(t, e.leave("a", 1), "a quarter is free: worth a claim")
	require.False(t, e.enterOne("a"), "others wait")
	e.look()
	require.False(t, e.hungryAre(nil))
	require.True(t, e.enterOne("a"))

	// What is queued during a look is not forgotten at its end.
	e.leave("a", 1)
	e.look()
	require.True(t, e.queued("a"))
	require.True(t, e.hungryAre(nil))
	require.False(t, e.enterOne("a"))
}

func TestAnIdleEndpointIsForgotten(t *testing.T) {
	e := newEndpoints(4)
	e.enter("a", 1)
	e.leave("a", 1)
	require.Empty(t, e.known)
	e.enter("a", 1)
	e.learn("a", false, false)
	e.leave("a", 1)
	require.Len(t, e.known, 1)
}
