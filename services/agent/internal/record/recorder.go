// Package record gives contacts what turns left behind: each finished turn at least once, those of a conversation in order.
package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// batchSize is how many turns one call carries at most.
	batchSize = 200
	// batchBytes is how large one call may become, under the 4 MiB that a server takes.
	batchBytes = 2 << 20
	// pollInterval is how long a turn may lie when no wake-up told of it.
	pollInterval = 500 * time.Millisecond
	// roundInterval is the least time between a round that found something and the next: what is committed meanwhile shares a call of contacts and a
	// statement. A turn after a longer silence is recorded at once.
	roundInterval = 50 * time.Millisecond
	// minBackoff and maxBackoff bound the wait after a failure; it doubles in between.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// callTimeout bounds one call of contacts. It is well under leaseTime.
	callTimeout = 5 * time.Second
	// leaseTime is how long a process that froze keeps the others from the work.
	leaseTime = 12 * time.Second
	leaseName = "recorder"
	// giveTimeout bounds giving the lease back while stopping.
	giveTimeout = time.Second
)

// Store is the part of the store that the recorder needs.
type Store interface {
	PendingRecords(ctx context.Context, after store.RecordKey, limit int) ([]store.PendingRecord, error)
	Said(ctx context.Context, instance string, turnIDs []string) (map[string]store.Said, error)
	Ends(ctx context.Context, instance string, conversations []string) (map[string]store.End, error)
	CountRecords(ctx context.Context, limit int) (count int, oldest time.Time, err error)
	DeleteRecords(ctx context.Context, lease store.Lease, instance string, keys []store.RecordKey) error
	PostponeRecord(ctx context.Context, lease store.Lease, key store.RecordKey, retry time.Time) error
	RefuseRecord(ctx context.Context, lease store.Lease, key store.RecordKey, code string, now time.Time) error
	TakeLease(ctx context.Context, name, holder string, now, until time.Time) (store.Lease, bool, error)
	GiveLease(ctx context.Context, lease store.Lease) error
}

// Contacts is the part of contactsv1.RecordServiceClient that the recorder needs.
type Contacts interface {
	RecordTurns(
		ctx context.Context, request *contactsv1.RecordTurnsRequest, opts ...grpc.CallOption,
	) (*contactsv1.RecordTurnsResponse, error)
}

// Deps are what a Recorder works with. All are required.
type Deps struct {
	Store    Store
	Contacts Contacts
	Clock    clock.Clock
	Logger   *slog.Logger
	Metrics  *Metrics
	// Holder names this process among those that share the store.
	Holder string
	// Elsewhere is told that there is something to record while another process has the lease. It must not block. Nil tells nobody.
	Elsewhere func()
}

// Recorder is the worker. Of all processes that share a store one works at a time, by a lease. The order of a conversation's turns
// does not hang on the lease: whoever sends begins with the first turn that contacts has not confirmed, and contacts ignores what
// it has.
type Recorder struct {
	Deps
	wake   chan struct{}
	freed  chan struct{} // the lease may be free
	others atomic.Bool   // another process has the lease
	memory *memory

	// Below is the state of the one goroutine in Run.

	lease      store.Lease
	leaseUntil time.Time
	found      bool // the last round found something pending
}

// NewRecorder returns a recorder.
func NewRecorder(deps Deps) *Recorder {
	return &Recorder{Deps: deps, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1), memory: newMemory()}
}

// Name is the worker's name.
func (r *Recorder) Name() string { return "agent-recorder" }

// Committed tells that there is a turn to record, and gives its record and answer, which must not be changed any more. It never
// blocks.
func (r *Recorder) Committed(t *store.Turn, record *contactsv1.TurnRecord, answer *agentv1.RunTurnResponse) {
	complete(record, t.ID, answer)
	r.memory.put(turnKey{t.Lane.Instance, t.ID}, remembered{record, len(t.Answer) + len(t.Record)})
	r.Wake()
}

// Wake tells that there is something to record. It never blocks.
func (r *Recorder) Wake() {
	notify(r.wake)
	if r.Elsewhere != nil && r.others.Load() {
		r.Elsewhere()
	}
}

// WakeHere is Wake for what another process has to record.
func (r *Recorder) WakeHere() { notify(r.wake) }

// Freed tells that the process that had the lease may have died. It never blocks.
func (r *Recorder) Freed() {
	notify(r.wake)
	notify(r.freed)
}

func notify(waiter chan struct{}) {
	select {
	case waiter <- struct{}{}:
	default:
	}
}

// errNotHolder says that another process does the work.
var errNotHolder = errors.New("another process records")

// Run records until the context ends.
func (r *Recorder) Run(ctx context.Context) error {
	defer r.giveLease(ctx)
	backoff := minBackoff
	for {
		err := r.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wake, wait := r.wake, pollInterval
		switch {
		case err == nil:
			backoff = minBackoff
			if r.found && !clock.Wait(ctx, r.Clock, roundInterval, nil) {
				return nil
			}
		case errors.Is(err, errNotHolder), errors.Is(err, store.ErrLeaseLost):
			// Its work, also what is committed here, until it stops.
			wake = r.freed
		default:
			// A failing contacts is not asked more often because more is said.
			wake, wait = nil, backoff
			backoff = min(2*backoff, maxBackoff)
			r.Logger.LogAttrs(ctx, slog.LevelWarn, "turns could not be recorded", slog.String("error", err.Error()),
				slog.Duration("retry_in", wait))
		}
		if !clock.Wait(ctx, r.Clock, wait, wake) {
			return nil
		}
	}
}

// runOnce goes once through all that is pending. It fails when there is no point in going on: contacts or the store is away, or
// another process has the lease.
func (r *Recorder) runOnce(ctx context.Context) error {
	var w walk
	r.found = false
	r.memory.nextRound()
	for {
		page, err := r.Store.PendingRecords(ctx, w.last, batchSize)
		if err != nil {
			return err
		}
		r.found = r.found || len(page) > 0
		turns, err := r.read(ctx, page)
		if err != nil {
			return err
		}
		for rest := turns; len(rest) > 0; {
			n := cut(rest)
			if err := r.recordBatch(ctx, &w, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if len(page) < batchSize {
			return nil
		}
	}
}

// read gives the records what they say, from memory or from the store.
func (r *Recorder) read(ctx context.Context, records []store.PendingRecord) ([]pending, error) {
	turns := make([]pending, len(records))
	missing, ended := make(map[string][]string), make(map[string][]string) // ids by instance
	for i, record := range records {
		k := turnKey{record.Key.Instance, record.TurnID}
		if record.TurnID == "" {
			turns[i] = pending{PendingRecord: record}
			ended[k.instance] = append(ended[k.instance], record.Key.ConversationID)
			continue
		}
		turns[i] = pending{PendingRecord: record, remembered: r.memory.take(k)}
		if turns[i].turn == nil {
			missing[k.instance] = append(missing[k.instance], k.id)
		}
	}
	for instance, ids := range missing {
		said, err := r.Store.Said(ctx, instance, ids)
		if err != nil {
			return nil, err
		}
		for i := range turns {
			t := &turns[i]
			if parts, ok := said[t.TurnID]; ok && t.Key.Instance == instance {
				t.remembered = decode(t.TurnID, parts)
			}
		}
	}
	for instance, conversations := range ended {
		ends, err := r.Store.Ends(ctx, instance, conversations)
		if err != nil {
			return nil, err
		}
		for i := range turns {
			t := &turns[i]
			if end, ok := ends[t.Key.ConversationID]; ok && t.TurnID == "" && t.Key.Instance == instance {
				t.remembered = ending(t.Key.ConversationID, end)
			}
		}
	}
	return turns, nil
}

// recordBatch records turns of one instance.
func (r *Recorder) recordBatch(ctx context.Context, w *walk, batch []pending) error {
	if err := r.holdLease(ctx); err != nil {
		return err
	}
	w.last = batch[len(batch)-1].Key
	instance := batch[0].Key.Instance
	var clean, suspect []pending
	now := r.Clock.Now()
	for _, turn := range batch {
		if w.isHeld(turn.Key) {
			continue
		}
		if turn.RetryTime.After(now) {
			w.hold(turn.Key)
			continue
		}
		if turn.turn == nil {
			// It will never be readable.
			if err := r.refuse(ctx, turn.Key, codeUnreadable); err != nil {
				return err
			}
			continue
		}
		if turn.Tries > 0 || len(suspect) > 0 && sameConversation(suspect[len(suspect)-1].Key, turn.Key) {
			suspect = append(suspect, turn)
		} else {
			clean = append(clean, turn)
		}
	}
	if err := r.recordClean(ctx, w, instance, clean); err != nil {
		return err
	}
	return r.recordSingly(ctx, w, instance, suspect)
}

// recordClean sends turns that nothing is known against in one call, and finds out which one it was if contacts refuses them.
func (r *Recorder) recordClean(ctx context.Context, w *walk, instance string, turns []pending) error {
	if len(turns) == 0 {
		return nil
	}
	unknown, err := r.send(ctx, instance, turns)
	switch {
	case err == nil:
		return r.settle(ctx, instance, turns, unknown)
	case isAway(err):
		return err
	default:
		return r.recordSingly(ctx, w, instance, turns)
	}
}

// recordSingly sends turns one by one, so that one which contacts refuses holds up its own conversation only.
func (r *Recorder) recordSingly(ctx context.Context, w *walk, instance string, turns []pending) error {
	for i := range turns {
		turn := turns[i : i+1]
		if w.isHeld(turn[0].Key) {
			continue
		}
		if err := r.holdLease(ctx); err != nil {
			return err
		}
		unknown, err := r.send(ctx, instance, turn)
		switch {
		case err == nil:
			err = r.settle(ctx, instance, turn, unknown)
		case isAway(err):
		default:
			err = r.failed(ctx, w, turn[0], err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send gives turns to contacts, and returns the attendances of which contacts has nothing any more.
func (r *Recorder) send(ctx context.Context, instance string, turns []pending) (unknown []int64, err error) {
	request := &contactsv1.RecordTurnsRequest{Instance: instance, Turns: make([]*contactsv1.TurnRecord, len(turns))}
	for i := range turns {
		request.Turns[i] = turns[i].turn
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := r.Contacts.RecordTurns(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("record turns: %w", err)
	}
	return response.GetUnknownAttendanceIds(), nil
}

// settle ends turns that contacts has: they are recorded, or set aside where their attendance is unknown.
func (r *Recorder) settle(ctx context.Context, instance string, turns []pending, unknown []int64) error {
	if len(unknown) > 0 {
		known := make([]pending, 0, len(turns))
		for _, turn := range turns {
			if !slices.Contains(unknown, turn.turn.GetAttendanceId()) {
				known = append(known, turn)
				continue
			}
			if err := r.refuse(ctx, turn.Key, codeErased); err != nil {
				return err
			}
		}
		turns = known
	}
	return r.recorded(ctx, instance, turns)
}

func (r *Recorder) recorded(ctx context.Context, instance string, turns []pending) error {
	keys := make([]store.RecordKey, len(turns))
	for i := range turns {
		keys[i] = turns[i].Key
	}
	if err := r.Store.DeleteRecords(ctx, r.lease, instance, keys); err != nil {
		return r.checkLease(err)
	}
	r.Metrics.recorded.Add(float64(len(turns)))
	return nil
}

// holdLease takes the lease, or renews it when half of it is over.
func (r *Recorder) holdLease(ctx context.Context) error {
	now := r.Clock.Now()
	if r.leaseUntil.Sub(now) > leaseTime/2 {
		return nil
	}
	until := now.Add(leaseTime)
	lease, held, err := r.Store.TakeLease(ctx, leaseName, r.Holder, now, until)
	if err != nil {
		return err
	}
	r.others.Store(!held)
	if !held {
		r.leaseUntil = time.Time{}
		return errNotHolder
	}
	r.lease, r.leaseUntil = lease, until
	return nil
}

// checkLease forgets a lease that was lost.
func (r *Recorder) checkLease(err error) error {
	if errors.Is(err, store.ErrLeaseLost) {
		r.leaseUntil = time.Time{}
	}
	return err
}

// giveLease lets another process go on at once. The context has ended by now.
func (r *Recorder) giveLease(ctx context.Context) {
	if r.leaseUntil.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveTimeout)
	defer cancel()
	r.leaseUntil = time.Time{}
	if err := r.Store.GiveLease(ctx, r.lease); err != nil {
		// It ends by itself.
		r.Logger.LogAttrs(ctx, slog.LevelInfo, "lease could not be given back", slog.String("error", err.Error()))
	}
}
