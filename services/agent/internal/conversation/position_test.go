package conversation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
)

func chainOf(turns, idLength int) []store.Link {
	links := make([]store.Link, turns)
	for i := range links {
		links[i] = store.Link{Number: int64(i + 1), TurnID: fmt.Sprintf("%0*d", idLength, i+1)}
	}
	return links
}

// However long a conversation and its identifiers, the cursor is a token, and a page follows a small part of the chain.
func TestStepsFitIntoACursor(t *testing.T) {
	tokens := pagetoken.New(make([]byte, pagetoken.KeySize), clock.NewManual(time.Unix(1_700_000_000, 0)))
	for _, turns := range []int{0, 1, 2, 39, 40, 41, 5000, 200_000} {
		for _, length := range []int{1, 24, 64} {
			chain := chainOf(turns, length)
			p := position{turn: 1, shown: 1, steps: newSteps(chain)}
			raw := p.encode()
			require.LessOrEqual(t, len(tokens.Encode("acme", "scope", raw)), pagetoken.MaxLength)
			got, ok := decodePosition(raw)
			require.True(t, ok)
			require.Equal(t, p, got)
			if turns == 0 {
				continue
			}
			require.Equal(t, chain[turns-1], got.steps[len(got.steps)-1], "the last is a step")
			before := int64(0)
			for _, step := range got.steps {
				require.LessOrEqual(t, step.Number-before, int64(turns/16+1), "%d turns, %d characters", turns, length)
				before = step.Number
			}
		}
	}
}

func TestStepsBehindAreDropped(t *testing.T) {
	p := position{turn: 1, steps: newSteps(chainOf(100, 24))}
	all := len(p.encode())
	p.turn = 90
	require.Less(t, len(p.encode()), all/4)
}

func FuzzDecodePosition(f *testing.F) {
	f.Add([]byte{})
	f.Add((&position{turn: 3, shown: 1, steps: chainOf(3, 24)}).encode())
	f.Add([]byte(strings.Repeat("\xff", 30)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, ok := decodePosition(raw)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, p.turn, int64(1))
		require.GreaterOrEqual(t, p.shown, int64(0))
	})
}
