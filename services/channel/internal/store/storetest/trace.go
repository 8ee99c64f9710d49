package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

const (
	acceptTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	turnTrace   = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
)

var traceCases = []Case{
	{"a message keeps its trace, with a key and without", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		m := message(c, "ana", "oi", at(0))
		m.Trace = acceptTrace
		_, err := s.Accept(t.Context(), m, nil, time.Time{})
		require.NoError(t, err)
		m = message(c, "ana", "oi de novo", at(1))
		m.Trace = turnTrace
		_, err = s.Accept(t.Context(), m, &store.Key{Scope: "x", Key: "k", Response: []byte(m.ID)}, time.Time{})
		require.NoError(t, err)
		accept(t, s, c, "ana", "sem", at(2))

		read, err := s.Messages(t.Context(), m.ThreadKey, 0, 10)
		require.NoError(t, err)
		held := claimThreads(t, s, at(3), 1)[0]
		require.Equal(t, read, held.Pending)
		require.Len(t, read, 3)
		require.Equal(t, []string{acceptTrace, turnTrace, ""}, []string{read[0].Trace, read[1].Trace, read[2].Trace})
	}},
	{"deliveries keep the trace of their turn through retries", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "oi", at(0))
		accept(t, s, c, "ana", "olá", at(0))
		held := claimThreads(t, s, at(0), 1)[0]
		traced := turn(held, "i", 2)
		traced.Trace, traced.HoldLane = turnTrace, at(0).Add(lease)
		finished, err := s.FinishTurn(t.Context(), traced, at(0))
		require.NoError(t, err)
		require.True(t, finished.LaneHeld)
		held.DoneSeq++
		answer(t, s, held, "i", 1, at(0))

		first := &finished.Lane.Pending[0]
		require.Equal(t, turnTrace, first.Trace)
		first.AttemptCount = 1
		require.NoError(t, s.Retry(t.Context(), first, finished.Lane.Epoch, at(10)))
		lane := claimLanes(t, s, c, at(10), 1)[0]
		require.Equal(t, deliveries(t, s, lane.LaneKey), lane.Pending)
		require.Len(t, lane.Pending, 3)
		require.Equal(t, []string{turnTrace, turnTrace, ""}, []string{lane.Pending[0].Trace, lane.Pending[1].Trace, lane.Pending[2].Trace})
	}},
}
