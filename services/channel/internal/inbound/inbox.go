package inbound

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/tracing"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/metric"
)

// Store is the part of the store that taking messages needs.
type Store interface {
	Accept(ctx context.Context, m *store.Message, key *store.Key, hold time.Time) (store.Accepted, error)
}

// Turns is what becomes of messages.
type Turns interface {
	// Reserve takes a slot for one more thread of an instance and returns the end
	// of the lease to ask for; false if there is none. A slot must be given back
	// by Start or Unreserve.
	Reserve(instance string) (until time.Time, ok bool)
	Unreserve(instance string)
	// Queued says that a message of an instance was accepted without a slot.
	Queued(instance string)
	// Start answers the messages of a thread that was taken for the slot.
	Start(t store.Thread)
}

// Inbox stores messages and has them answered, whichever surface they came in
// by.
type Inbox struct {
	store    Store
	turns    Turns
	tracer   *tracing.Tracer
	inFlight keysInFlight
	accepted prometheus.Counter
	replayed prometheus.Counter
}

// NewInbox returns an inbox. A nil tracer stores no traces with the messages.
func NewInbox(s Store, turns Turns, tracer *tracing.Tracer, metrics prometheus.Registerer) (*Inbox, error) {
	b := &Inbox{
		store: s, turns: turns, tracer: tracer,
		inFlight: keysInFlight{keys: make(map[channelKey]struct{})},
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prosa_channel_messages_accepted_total", Help: "Messages stored and acknowledged.",
		}),
		replayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prosa_channel_messages_replayed_total", Help: "Repetitions answered by their idempotency key; nothing was stored.",
		}),
	}
	return b, metric.Register(metrics, b.accepted, b.replayed)
}

// enter marks a caller's key as in flight until leave is called. The error is
// IDEMPOTENCY_KEY_IN_FLIGHT if it is already.
func (b *Inbox) enter(endpointID, key string) (leave func(), err error) {
	mark := channelKey{endpointID, key}
	if !b.inFlight.enter(mark) {
		return nil, idempotency.ErrInFlight
	}
	return func() { b.inFlight.leave(mark) }, nil
}

// take stores the message. When a turn can begin at once, the accepting
// transaction takes the thread for it, which saves the claim. Errors:
// store.ErrChannelNotFound, idempotency.ErrReused, those of the store.
func (b *Inbox) take(ctx context.Context, m *store.Message, key *store.Key) (store.Accepted, error) {
	m.Trace = b.tracer.Accepted(ctx)
	until, reserved := b.turns.Reserve(m.Instance)
	accepted, err := b.store.Accept(ctx, m, key, until)
	switch {
	case reserved && err == nil && accepted.Held.OK:
		m.Seq = accepted.Held.Seq
		b.turns.Start(store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, DoneSeq: m.Seq - 1, Pending: []store.Message{*m}})
	case reserved:
		b.turns.Unreserve(m.Instance)
	case err == nil && !accepted.Replayed:
		b.turns.Queued(m.Instance)
	}
	switch {
	case err != nil:
	case accepted.Replayed:
		b.replayed.Inc()
	default:
		b.accepted.Inc()
	}
	return accepted, err
}
