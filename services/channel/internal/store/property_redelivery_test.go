package store_test

import (
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// again is what the model knows of what is to be sent again of a lane.
type again struct {
	waiting []int64 // sequences, in order
	epoch   int64
	held    bool
	until   time.Time
}

func (a *again) due(now time.Time) bool { return len(a.waiting) > 0 && !a.until.After(now) }

// againHolder is somebody who was given what is to be sent again of a lane.
type againHolder struct {
	queue *queue
	epoch int64
}

// put adds a delivery that was settled, and is to be sent again.
func (q *queue) put(sequence int64, now time.Time) {
	q.states[sequence-1] = store.Pending
	q.again.waiting = append(q.again.waiting, sequence)
	slices.Sort(q.again.waiting)
	if !q.again.held {
		q.again.until = now
	}
}

// settledOnes are the deliveries of a lane in one of the states, without the one
// that parks it.
func (q *queue) settledOnes(states ...store.DeliveryState) (sequences []int64) {
	for i, state := range q.states {
		if slices.Contains(states, state) && (!q.parked || int64(i) != q.done) {
			sequences = append(sequences, int64(i)+1)
		}
	}
	return sequences
}

func (m *model) sendAgain(rt *rapid.T) {
	var names []string
	for name, q := range m.lanes {
		if q.last > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		rt.Skip("no delivery was made")
	}
	slices.Sort(names)
	q := m.lanes[rapid.SampledFrom(names).Draw(rt, "lane")]
	sequence := int64(rapid.IntRange(1, int(q.last)).Draw(rt, "sequence"))
	rows, err := m.store.Deliveries(rt.Context(), m.laneKey(q), sequence-1, 1)
	require.NoError(rt, err)
	got, err := m.store.SendAgain(rt.Context(), "acme", rows[0].ID, m.now)
	if m.deleted {
		require.ErrorIs(rt, err, store.ErrNotRetryable)
		return
	}
	require.NoError(rt, err)
	switch state := q.states[sequence-1]; {
	case q.parked && sequence == q.done+1:
		require.True(rt, got)
		q.parked, q.until, q.states[sequence-1] = false, m.now, store.Pending
	case state != store.Pending:
		require.True(rt, got)
		q.put(sequence, m.now)
	case sequence == q.done+1 && !q.parked:
		require.False(rt, got)
		if !q.held && q.until.After(m.now) {
			q.until = m.now
		}
	case sequence <= q.done:
		require.False(rt, got)
		if !q.again.held && q.again.until.After(m.now) {
			q.again.until = m.now
		}
	default:
		require.False(rt, got)
	}
}

func (m *model) replay(rt *rapid.T) {
	states := rapid.SampledFrom([][]store.DeliveryState{{store.Dead}, {store.Delivered}, {store.Delivered, store.Dead}}).Draw(rt, "states")
	got, err := m.store.Replay(rt.Context(), store.Replay{Endpoint: m.endpoint(), States: states}, "", m.now)
	want := 0
	for _, q := range m.lanes {
		sequences := q.settledOnes(states...)
		if want += len(sequences); m.deleted {
			continue
		}
		for _, sequence := range sequences {
			q.put(sequence, m.now)
		}
		if q.parked && slices.Contains(states, store.Dead) {
			q.parked, q.until, q.states[q.done] = false, m.now, store.Pending
			want++
		}
	}
	if m.deleted && want > 0 {
		require.ErrorIs(rt, err, store.ErrNotRetryable)
		return
	}
	require.NoError(rt, err)
	require.Equal(rt, want, got.Count)
	require.True(rt, got.Done)
}

func (m *model) claimRedeliveries(rt *rapid.T) {
	limit := rapid.IntRange(1, 3).Draw(rt, "limit")
	want := 0
	for _, q := range m.lanes {
		if q.again.due(m.now) {
			want++
		}
	}
	ready, err := m.store.ReadyRedeliveries(rt.Context(), m.now)
	require.NoError(rt, err)
	require.Equal(rt, want > 0 && !m.deleted, len(ready) == 1)
	got, err := m.store.ClaimRedeliveries(rt.Context(), []store.Claim{{Endpoint: m.endpoint(), Limit: limit}}, m.now, m.now.Add(holdFor))
	require.NoError(rt, err)
	require.Len(rt, got, min(want, limit))
	for _, r := range got {
		q := m.lanes[r.InteractionID]
		require.True(rt, q.again.due(m.now), "nobody else holds it")
		q.again.epoch++
		q.again.held, q.again.until = true, m.now.Add(holdFor)
		require.Equal(rt, q.again.epoch, r.Epoch)
		m.againHolders = append(m.againHolders, &againHolder{q, r.Epoch})
	}
}

// resend draws one of those who hold, or once held, what is to be sent again,
// and the delivery that they know of.
func (m *model) resend(rt *rapid.T) (*againHolder, *store.Delivery) {
	if len(m.againHolders) == 0 {
		rt.Skip("nobody holds anything")
	}
	h := m.againHolders[len(m.againHolders)-1-rapid.IntRange(0, min(5, len(m.againHolders)-1)).Draw(rt, "holder")]
	d := m.delivery(rt, h.queue, 1)
	d.State, d.AttemptCount, d.Attempts = store.Pending, 1, []byte("[]")
	next, ok, err := m.store.NextRedelivery(rt.Context(), d.LaneKey)
	require.NoError(rt, err)
	require.Equal(rt, len(h.queue.again.waiting) > 0, ok)
	if ok {
		require.Equal(rt, h.queue.again.waiting[0], next.Sequence, "the lowest comes first")
		d.Sequence, d.ID = next.Sequence, next.ID
	}
	return h, d
}

func (m *model) agreeAgain(rt *rapid.T, h *againHolder, err error) (taken bool) {
	if !h.queue.again.held || h.queue.again.epoch != h.epoch {
		require.ErrorIs(rt, err, store.ErrLeaseLost)
		return false
	}
	require.NoError(rt, err)
	return true
}

func (m *model) settleRedelivery(rt *rapid.T) {
	h, d := m.resend(rt)
	d.State = rapid.SampledFrom([]store.DeliveryState{store.Delivered, store.Dead}).Draw(rt, "state")
	more, err := m.store.SettleRedelivery(rt.Context(), d, h.epoch, m.now)
	if !m.agreeAgain(rt, h, err) {
		return
	}
	a := &h.queue.again
	a.waiting = a.waiting[1:]
	h.queue.states[d.Sequence-1] = d.State
	a.held = len(a.waiting) > 0
	require.Equal(rt, a.held, more)
}

func (m *model) retryRedelivery(rt *rapid.T) {
	h, d := m.resend(rt)
	if m.agreeAgain(rt, h, m.store.RetryRedelivery(rt.Context(), d, h.epoch, m.now.Add(5*time.Second))) {
		h.queue.again.held, h.queue.again.until = false, m.now.Add(5*time.Second)
	}
}

func (m *model) releaseRedelivery(rt *rapid.T) {
	h, d := m.resend(rt)
	if m.agreeAgain(rt, h, m.store.ReleaseRedelivery(rt.Context(), d.LaneKey, h.epoch, m.now)) {
		h.queue.again.held, h.queue.again.until = false, m.now
	}
}

// voidAgain and cancelAgain are what a start of the process, and the end of the
// channel, do to what is to be sent again.
func (m *model) voidAgain() {
	for _, q := range m.lanes {
		if a := &q.again; a.held && a.until.After(m.now) {
			a.held, a.until = false, m.now
			a.epoch++
		}
	}
}

func (m *model) cancelAgain(rt *rapid.T) {
	for done := false; !done; {
		var err error
		_, done, err = m.store.CancelRedeliveries(rt.Context(), m.endpoint(), m.now)
		require.NoError(rt, err)
	}
	for _, q := range m.lanes {
		for _, sequence := range q.again.waiting {
			q.states[sequence-1] = store.Cancelled
		}
		q.again.waiting, q.again.held = nil, false
	}
}
