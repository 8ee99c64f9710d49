package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// TestRandomOperations runs random operations, by holders old and new, against
// a model, and checks after each that every effect happened once, that nothing
// is lost between the states, and that the order holds.
func TestRandomOperations(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations.FS, "channel")
	rapid.Check(t, func(rt *rapid.T) {
		options.DataDir = t.TempDir()
		options.Logger = nil
		db, err := sqldb.Open(context.Background(), options)
		require.NoError(rt, err)
		defer func() { require.NoError(rt, db.Close()) }()
		m := newModel(rt, store.New(db))
		rt.Repeat(map[string]func(*rapid.T){
			"":                   m.check,
			"accept":             m.accept,
			"claim threads":      m.claimThreads,
			"finish":             m.finish,
			"set aside":          m.setAside,
			"postpone":           m.postpone,
			"claim lanes":        m.claimLanes,
			"settle":             m.settle,
			"retry":              m.retry,
			"park":               m.park,
			"put back":           m.putBack,
			"unpark":             m.unpark,
			"release":            m.release,
			"send again":         m.sendAgain,
			"replay":             m.replay,
			"claim redeliveries": m.claimRedeliveries,
			"settle redelivery":  m.settleRedelivery,
			"retry redelivery":   m.retryRedelivery,
			"release redelivery": m.releaseRedelivery,
			"time":               func(rt *rapid.T) { m.now = m.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(rt, "s")) * time.Second) },
			"crash":              m.crash,
			"delete":             m.remove,
		})
	})
}

// queue is what the model knows of a thread or a lane.
type queue struct {
	name   string
	last   int64
	done   int64
	epoch  int64
	held   bool
	until  time.Time             // end of the lease, or of the wait
	parked bool                  // the delivery behind done is dead, and the lane waits for somebody
	states []store.DeliveryState // of a lane's deliveries
	again  again                 // which of a lane's are to be sent again
}

func (q *queue) due(now time.Time) bool { return q.done < q.last && !q.parked && !q.until.After(now) }

// holder is somebody who was given a lease once, and may not know that it is over.
type holder struct {
	queue *queue
	epoch int64
	lane  bool
}

func (h *holder) valid() bool { return h.queue.held && h.queue.epoch == h.epoch }

type model struct {
	store        *store.Store
	now          time.Time
	channel      *store.Channel
	deleted      bool
	threads      map[string]*queue
	lanes        map[string]*queue
	holders      []*holder
	againHolders []*againHolder
	keys         map[string]string
	ids          int
	accepted     int64
}

const holdFor = 10 * time.Second

func newModel(rt *rapid.T, s *store.Store) *model {
	m := &model{
		store: s, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), threads: map[string]*queue{}, lanes: map[string]*queue{}, keys: map[string]string{},
		channel: &store.Channel{Instance: "acme", ID: "c", Acknowledgement: store.StatusOK, State: store.Active, Secret: []byte("s"), Timeout: time.Second},
	}
	_, err := s.CreateChannel(rt.Context(), m.channel, nil)
	require.NoError(rt, err)
	return m
}

func (m *model) id() string { m.ids++; return fmt.Sprintf("%024x", m.ids) }

func (m *model) endpoint() store.Endpoint { return store.Endpoint{Instance: "acme", ID: "c"} }

func (m *model) threadKey(q *queue) store.ThreadKey {
	return store.ThreadKey{Instance: "acme", ChannelID: "c", ClientIdentifier: q.name}
}

func (m *model) laneKey(q *queue) store.LaneKey {
	return store.LaneKey{Instance: "acme", EndpointID: "c", InteractionID: q.name}
}

func of(queues map[string]*queue, name string) *queue {
	q, ok := queues[name]
	if !ok {
		q = &queue{name: name}
		queues[name] = q
	}
	return q
}

func (m *model) hold(q *queue, lane bool) {
	q.epoch++
	q.held, q.until = true, m.now.Add(holdFor)
	m.holders = append(m.holders, &holder{queue: q, epoch: q.epoch, lane: lane})
}

// pick draws one of those who hold, or once held, a thread or a lane.
func (m *model) pick(rt *rapid.T, lane bool) *holder {
	var some []*holder
	for _, h := range m.holders {
		if h.lane == lane {
			some = append(some, h)
		}
	}
	if len(some) == 0 {
		rt.Skip("nobody holds anything")
	}
	// The newest are those that matter most.
	return some[len(some)-1-rapid.IntRange(0, min(5, len(some)-1)).Draw(rt, "holder")]
}

func (m *model) person(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"ana", "bia", "Ana"}).Draw(rt, "person")
}

func (m *model) accept(rt *rapid.T) {
	q := of(m.threads, m.person(rt))
	message := &store.Message{ThreadKey: m.threadKey(q), ID: m.id(), Text: "oi", CreateTime: m.now}
	var key *store.Key
	if name := rapid.SampledFrom([]string{"", "k1", "k2"}).Draw(rt, "key"); name != "" {
		key = &store.Key{Scope: q.name, Key: name, Response: []byte(message.ID)}
	}
	hold := time.Time{}
	if rapid.Bool().Draw(rt, "hold") {
		hold = m.now.Add(holdFor)
	}
	got, err := m.store.Accept(rt.Context(), message, key, hold)
	if key != nil {
		if first, known := m.keys[q.name+key.Key]; known {
			require.NoError(rt, err)
			require.Equal(rt, store.Accepted{MessageID: first, Replayed: true}, got)
			return
		}
	}
	if m.deleted {
		require.ErrorIs(rt, err, store.ErrChannelNotFound)
		return
	}
	require.NoError(rt, err)
	if key != nil {
		m.keys[q.name+key.Key] = message.ID
	}
	m.accepted++
	idle := q.done == q.last
	if q.last == 0 {
		q.epoch = sqldb.Micros(message.CreateTime) // of a new thread
	}
	q.last++
	require.Equal(rt, q.last, got.Held.Seq)
	require.Equal(rt, idle && !hold.IsZero(), got.Held.OK)
	switch {
	case got.Held.OK:
		m.hold(q, false)
		require.Equal(rt, q.epoch, got.Held.Epoch)
	case idle:
		q.until = m.now
	}
}

func (m *model) claimThreads(rt *rapid.T) {
	limit := rapid.IntRange(1, 3).Draw(rt, "limit")
	want := 0
	for _, q := range m.threads {
		if q.due(m.now) {
			want++
		}
	}
	got, err := m.store.ClaimThreads(rt.Context(), []store.ThreadClaim{{Instance: "acme", Limit: limit}}, m.now, m.now.Add(holdFor))
	require.NoError(rt, err)
	require.Len(rt, got, min(want, limit))
	for _, thread := range got {
		q := m.threads[thread.ClientIdentifier]
		require.True(rt, q.due(m.now), "nobody else holds it")
		m.hold(q, false)
		require.Equal(rt, q.epoch, thread.Epoch)
		require.Equal(rt, q.done, thread.DoneSeq)
	}
}

// agree checks that a result was taken from its holder, and only from them.
func (m *model) agree(rt *rapid.T, h *holder, err error) (taken bool) {
	if !h.valid() {
		require.ErrorIs(rt, err, store.ErrLeaseLost)
		return false
	}
	require.NoError(rt, err)
	return true
}

func (q *queue) advance() {
	q.done++
	if q.done == q.last {
		q.held = false
	}
}

func (m *model) finish(rt *rapid.T) {
	h := m.pick(rt, false)
	lane := of(m.lanes, "of "+h.queue.name)
	turn := &store.Turn{
		ThreadKey: m.threadKey(h.queue), Epoch: h.epoch, Seq: h.queue.done + 1, ContactID: "c", InteractionID: lane.name,
	}
	if rapid.Bool().Draw(rt, "hold lane") {
		turn.HoldLane = m.now.Add(holdFor)
	}
	for range rapid.IntRange(0, 3).Draw(rt, "answers") {
		turn.Answer = append(turn.Answer, store.Outgoing{ID: m.id(), Body: []byte("b")})
	}
	got, err := m.store.FinishTurn(rt.Context(), turn, m.now)
	if !m.agree(rt, h, err) {
		return
	}
	h.queue.advance()
	require.Equal(rt, h.queue.done < h.queue.last, got.More)
	if len(got.Pending) > 0 {
		stored, err := m.store.Messages(rt.Context(), turn.ThreadKey, h.queue.done, len(got.Pending))
		require.NoError(rt, err)
		require.Equal(rt, stored, got.Pending)
	}
	require.Equal(rt, len(turn.Answer), got.Queued)
	if len(turn.Answer) == 0 {
		return
	}
	idle := lane.done == lane.last
	require.Equal(rt, lane.last+1, got.FirstSequence)
	for range turn.Answer {
		lane.last++
		lane.states = append(lane.states, store.Pending)
	}
	require.Equal(rt, idle && !turn.HoldLane.IsZero(), got.LaneHeld)
	switch {
	case got.LaneHeld:
		m.hold(lane, true)
		require.Equal(rt, lane.epoch, got.Lane.Epoch)
	case idle:
		lane.until = m.now
	}
}

func (m *model) setAside(rt *rapid.T) {
	h := m.pick(rt, false)
	more, err := m.store.SetAside(rt.Context(), m.threadKey(h.queue), h.epoch, h.queue.done+1, "X")
	if m.agree(rt, h, err) {
		h.queue.advance()
		require.Equal(rt, h.queue.done < h.queue.last, more)
	}
}

func (m *model) postpone(rt *rapid.T) {
	h := m.pick(rt, false)
	err := m.store.PostponeThread(rt.Context(), m.threadKey(h.queue), h.epoch, m.now.Add(5*time.Second), true)
	if m.agree(rt, h, err) {
		h.queue.held, h.queue.until = false, m.now.Add(5*time.Second)
	}
}

func (m *model) release(rt *rapid.T) {
	lane := rapid.Bool().Draw(rt, "lane")
	h := m.pick(rt, lane)
	var err error
	if lane {
		err = m.store.ReleaseLane(rt.Context(), m.laneKey(h.queue), h.epoch, m.now)
	} else {
		err = m.store.ReleaseThread(rt.Context(), m.threadKey(h.queue), h.epoch, m.now)
	}
	if m.agree(rt, h, err) {
		h.queue.held, h.queue.until = false, m.now
	}
}

func (m *model) claimLanes(rt *rapid.T) {
	limit := rapid.IntRange(1, 3).Draw(rt, "limit")
	want := 0
	for _, q := range m.lanes {
		if q.due(m.now) {
			want++
		}
	}
	ready, err := m.store.ReadyEndpoints(rt.Context(), m.now)
	require.NoError(rt, err)
	require.Equal(rt, want > 0 && !m.deleted, len(ready) == 1)
	got, err := m.store.ClaimLanes(rt.Context(), []store.Claim{{Endpoint: m.endpoint(), Limit: limit}}, m.now, m.now.Add(holdFor))
	require.NoError(rt, err)
	require.Len(rt, got, min(want, limit))
	for _, l := range got {
		q := m.lanes[l.InteractionID]
		require.True(rt, q.due(m.now), "nobody else holds it")
		m.hold(q, true)
		require.Equal(rt, q.epoch, l.Epoch)
		require.Equal(rt, q.done, l.SettledSeq)
	}
}

func (m *model) settle(rt *rapid.T) {
	h := m.pick(rt, true)
	ahead := rapid.SampledFrom([]int64{0, 0, 0, 1}).Draw(rt, "ahead")
	d := m.delivery(rt, h.queue, h.queue.done+1+ahead)
	d.State = rapid.SampledFrom([]store.DeliveryState{store.Delivered, store.Dead}).Draw(rt, "state")
	settled, err := m.store.Settle(rt.Context(), d, h.epoch, m.now)
	if ahead > 0 {
		require.ErrorIs(rt, err, store.ErrLeaseLost, "out of order")
		return
	}
	if m.agree(rt, h, err) {
		h.queue.states[h.queue.done] = d.State
		h.queue.advance()
		require.Equal(rt, h.queue.done < h.queue.last, settled.More)
		if len(settled.Pending) > 0 {
			stored, err := m.store.Deliveries(rt.Context(), d.LaneKey, h.queue.done, len(settled.Pending))
			require.NoError(rt, err)
			require.Equal(rt, stored, settled.Pending)
		}
	}
}

// delivery is one of a lane as it is stored, or what would name it if it is not
// there.
func (m *model) delivery(rt *rapid.T, q *queue, sequence int64) *store.Delivery {
	rows, err := m.store.Deliveries(rt.Context(), m.laneKey(q), sequence-1, 1)
	require.NoError(rt, err)
	if len(rows) == 0 {
		return &store.Delivery{LaneKey: m.laneKey(q), Sequence: sequence}
	}
	return &rows[0]
}

func (m *model) retry(rt *rapid.T) {
	h := m.pick(rt, true)
	d := m.delivery(rt, h.queue, h.queue.done+1)
	d.AttemptCount, d.Attempts = 1, []byte("[]")
	if m.agree(rt, h, m.store.Retry(rt.Context(), d, h.epoch, m.now.Add(5*time.Second))) {
		h.queue.held, h.queue.until = false, m.now.Add(5*time.Second)
	}
}

func (m *model) park(rt *rapid.T) {
	h := m.pick(rt, true)
	d := m.delivery(rt, h.queue, h.queue.done+1)
	d.State, d.AttemptCount, d.Attempts = store.Dead, 1, []byte("[]")
	if m.agree(rt, h, m.store.ParkLane(rt.Context(), d, h.epoch, m.now)) {
		h.queue.held, h.queue.parked = false, true
		h.queue.states[h.queue.done] = store.Dead
	}
}

func (m *model) putBack(rt *rapid.T) {
	q := m.pick(rt, true).queue
	if !q.parked {
		rt.Skip("its lane is not parked")
	}
	rows, err := m.store.Deliveries(rt.Context(), m.laneKey(q), q.done, 1)
	require.NoError(rt, err)
	again, err := m.store.SendAgain(rt.Context(), "acme", rows[0].ID, m.now)
	require.NoError(rt, err)
	require.True(rt, again)
	q.parked, q.until = false, m.now
	q.states[q.done] = store.Pending
}

func (m *model) unpark(rt *rapid.T) {
	done, err := m.store.Unpark(rt.Context(), m.endpoint(), m.now)
	require.NoError(rt, err)
	require.True(rt, done)
	for _, q := range m.lanes {
		if q.parked {
			q.parked, q.until = false, m.now
			q.done++
		}
	}
}

func (m *model) crash(rt *rapid.T) {
	require.NoError(rt, m.store.VoidLeases(rt.Context(), m.now))
	for _, queues := range []map[string]*queue{m.threads, m.lanes} {
		for _, q := range queues {
			if q.held && q.until.After(m.now) {
				q.held, q.until = false, m.now
				q.epoch++
			}
		}
	}
	m.voidAgain()
}

// remove deletes the channel and cancels all it left, rarely, since nothing
// happens after it.
func (m *model) remove(rt *rapid.T) {
	if m.deleted || rapid.IntRange(0, 9).Draw(rt, "really") > 0 {
		rt.Skip("not now")
	}
	m.deleted = true
	require.NoError(rt, m.store.DeleteChannel(rt.Context(), "acme", "c", m.now))
	for done := false; !done; {
		var err error
		_, done, err = m.store.CancelThreads(rt.Context(), m.endpoint())
		require.NoError(rt, err)
	}
	for done := false; !done; {
		var err error
		_, done, err = m.store.CancelLanes(rt.Context(), m.endpoint(), m.now)
		require.NoError(rt, err)
	}
	for _, q := range m.threads {
		q.done, q.held = q.last, false
	}
	for _, q := range m.lanes {
		for i := q.done; i < q.last; i++ {
			if q.states[i] == store.Pending {
				q.states[i] = store.Cancelled
			}
		}
		q.done, q.held, q.parked = q.last, false, false
	}
	m.cancelAgain(rt)
}

func (m *model) check(rt *rapid.T) {
	var pendingMessages, pendingDeliveries, parked, messages int64
	for _, q := range m.threads {
		pendingMessages += q.last - q.done
		rows, err := m.store.Messages(rt.Context(), m.threadKey(q), 0, 10_000)
		require.NoError(rt, err)
		require.Len(rt, rows, int(q.last))
		for i, row := range rows {
			require.EqualValues(rt, i+1, row.Seq, "no gap")
		}
		messages += q.last
	}
	require.Equal(rt, m.accepted, messages, "every accepted message is there, once")
	for _, q := range m.lanes {
		pendingDeliveries += q.last - q.done + int64(len(q.again.waiting))
		if q.parked {
			pendingDeliveries--
			parked++
		}
		rows, err := m.store.Deliveries(rt.Context(), m.laneKey(q), 0, 10_000)
		require.NoError(rt, err)
		require.Len(rt, rows, int(q.last))
		for i, row := range rows {
			require.EqualValues(rt, i+1, row.Sequence, "no gap")
			require.Equal(rt, q.states[i], row.State)
			head := q.done
			if q.parked {
				head++
			}
			waits := slices.Contains(q.again.waiting, row.Sequence)
			require.Equal(rt, int64(i) >= head || waits, row.State == store.Pending, "settled from the front, in order, or to be sent again")
		}
	}
	b, err := m.store.Backlog(rt.Context())
	require.NoError(rt, err)
	require.Equal(rt, pendingMessages, b.Messages)
	require.Equal(rt, pendingDeliveries, b.Deliveries)
	require.Equal(rt, parked, b.Parked)
}
