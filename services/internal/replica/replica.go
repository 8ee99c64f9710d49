// Package replica is what the processes that share one PostgreSQL store know of each other: that there is work, and that one of them has
// died. Neither is needed for anything but speed. Work is found by a poll too, and the leases of a process that died end by themselves.
//
// Each process keeps one connection of its own to each store, outside of the pool. On it it listens to what others tell (LISTEN), and by
// it it holds an advisory lock whose number is the process's token. The server frees the lock when the connection ends, and so at once
// when the process is killed. The others look for that, and take back the leases that name the token. It may be that the process lives
// and has lost only that connection: then its leases have new epochs, and whatever it still writes under the old ones is refused.
//
// Behind a pooler that is not possible (sqldb.ErrNoSession), nor is it needed on SQLite, whose store has one process only: there all of
// it does nothing.
//
// The processes are listed in the table of package worklease, as rows named process/<holder>.
package replica

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// embedded is the name of the one process that has a SQLite store. It is always the same: a process that was killed leaves leases
	// behind that nobody else can hold, and the next start goes on with them at once.
	embedded = "embedded"

	// minBackoff and maxBackoff bound the wait before the connection is tried again; it doubles in between. All are back well before
	// anybody judges them, see settleTime.
	minBackoff = 20 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
	// callTimeout bounds what is asked on the connection, and what is told.
	callTimeout = 5 * time.Second
)

// Options say what a Replica works with. All but Metrics are required.
type Options struct {
	// Store names the store: the worker, the channel of notifications, the label of the metrics.
	Store string
	// DB is the store; its migrations have the table of package worklease.
	DB *sqldb.DB
	// IDs makes the token of this process.
	IDs     interface{ New() string }
	Clock   clock.Clock
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Replica is this process among those that share the store. It is a lifecycle.Worker. It is safe for concurrent use, but On and
// WhenDead are for before Run. A nil Replica is one of a store that nobody shares.
type Replica struct {
	Options
	shared  bool
	token   int64
	holder  string
	metrics *metrics
	topics  map[string][]func(subject string)
	voids   []Void

	held    atomic.Bool  // the lock of the token
	fellows atomic.Int64 // other processes, as far as is known

	session  *sqldb.Session       // what Run has
	again    bool                 // a session was lost, or could not be had
	suspects map[string]time.Time // since when holders have been found without a lock

	mu     sync.Mutex
	untold map[string]subjects
	tell   chan struct{}
}

// Void takes back, in a transaction, the leases that name a token, so that they are due now and results of their holder are refused.
type Void func(ctx context.Context, tx sqldb.Tx, token int64) error

// New returns a replica that does nothing until Run. Errors: a metric of another kind is registered under a name of this one.
func New(o Options) (*Replica, error) {
	r := &Replica{
		Options: o, holder: embedded, shared: o.DB.Dialect() == sqldb.Postgres,
		topics: make(map[string][]func(string)), suspects: make(map[string]time.Time),
		untold: make(map[string]subjects), tell: make(chan struct{}, 1),
	}
	if r.shared {
		r.token = tokenOf(o.IDs.New())
		r.holder = strconv.FormatInt(r.token, 10)
	}
	var err error
	r.metrics, err = newMetrics(o.Metrics, o.Store)
	return r, err
}

// tokenOf makes a positive number of the random part of an id.
func tokenOf(id string) int64 {
	const hexDigits = 15 // 60 bits
	token, err := strconv.ParseInt(id[len(id)-hexDigits:], 16, 64)
	if err != nil {
		panic("make token: " + err.Error()) // ids are hexadecimal
	}
	return token + 1
}

// Holder names this process among those that share the store, as the holder of worklease leases.
func (r *Replica) Holder() string { return r.holder }

// Token is what leases that this process takes now should name, so that they can be taken back when it dies. It is 0, for leases that
// only end by time, while the others could not tell whether it lives.
func (r *Replica) Token() int64 {
	if r == nil || !r.held.Load() {
		return 0
	}
	return r.token
}

// On has heard called when another process tells of a topic: with the subject that it named, or with "" when it may be anything. It is
// also called with "" after notifications may have been missed, and when the leases of a process that died were taken back. It must not
// block.
func (r *Replica) On(topic string, heard func(subject string)) {
	if r != nil && r.shared {
		r.topics[topic] = append(r.topics[topic], heard)
	}
}

// WhenDead has leases taken back that name the token of a process that died. Those of package worklease are taken back without it.
func (r *Replica) WhenDead(void Void) { r.voids = append(r.voids, void) }

// Name is the worker's name.
func (r *Replica) Name() string { return r.Store + "-replica" }

// Run listens and watches until ctx ends, and connects anew as often as needed. The token stays held after that, until the store is
// closed: what this process has begun it may finish.
func (r *Replica) Run(ctx context.Context) error {
	if !r.shared {
		<-ctx.Done()
		return nil
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	telling.Go(func() { r.tellAll(ctx) })

	for backoff := minBackoff; ; {
		err := r.connect(ctx)
		if errors.Is(err, sqldb.ErrNoSession) {
			r.Logger.LogAttrs(ctx, slog.LevelInfo, "processes hear of each other's work by the poll only: the store has no sessions of its own",
				slog.String("store", r.Store))
			<-ctx.Done()
			return nil
		}
		if err == nil {
			if r.again {
				r.Logger.LogAttrs(ctx, slog.LevelInfo, "connection to other processes is back", slog.String("store", r.Store))
			}
			began := r.Clock.Now()
			if err = r.listen(ctx); r.Clock.Now().Sub(began) >= maxBackoff {
				backoff = minBackoff
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		r.disconnect()
		r.again = true
		if backoff == minBackoff { // the first of several
			r.Logger.LogAttrs(ctx, slog.LevelWarn, "connection to other processes is lost: their work is found by the poll until it is back",
				slog.String("store", r.Store), slog.String("error", err.Error()))
		}
		if !clock.Wait(ctx, r.Clock, backoff, nil) {
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// connect opens the connection, listens, takes the token, and lists the process, in this order: a process that is listed can be told
// from a dead one.
func (r *Replica) connect(ctx context.Context) error {
	r.disconnect() // what a run before this one has left
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	session, err := r.DB.OpenSession(ctx)
	if err != nil {
		return err
	}
	r.session = session
	if err := session.Listen(ctx, r.channel()); err != nil {
		return err
	}
	// A shared lock does not wait for that of a connection which the server still believes in, and nobody takes another kind.
	if err := session.Exec(ctx, "SELECT pg_advisory_lock_shared($1)", r.token); err != nil {
		return err
	}
	if err := r.announce(ctx); err != nil {
		return err
	}
	r.held.Store(true)
	r.metrics.connected.Set(1)
	return nil
}

// disconnect gives the token up.
func (r *Replica) disconnect() {
	r.held.Store(false)
	r.metrics.connected.Set(0)
	if r.session != nil {
		r.session.Close()
		r.session = nil
	}
}

// channel is that of the notifications. They are for all of a database; each store in it has a name of its own.
func (r *Replica) channel() string { return "prosa/" + r.Store }

// listen hears what is told, and looks for the dead now and then, until the connection is lost or ctx ends.
func (r *Replica) listen(ctx context.Context) error {
	next := r.Clock.Now()
	if r.again {
		// Perhaps all have lost their connections: let the others come back before they are judged.
		next = next.Add(settleTime)
	}
	r.wakeAll()
	for {
		if wait := next.Sub(r.Clock.Now()); wait > 0 {
			payload, err := r.hear(ctx, wait)
			switch {
			case err == nil:
				r.heard(payload)
				continue
			case ctx.Err() != nil:
				return nil //nolint:nilerr // it was asked to end
			case !errors.Is(err, context.Canceled):
				return err
			}
		}
		wait, err := r.look(ctx)
		if err != nil {
			return err
		}
		next = r.Clock.Now().Add(wait)
	}
}

// hear waits for a notification; after some time the error is context.Canceled.
func (r *Replica) hear(ctx context.Context, atMost time.Duration) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := r.Clock.NewTimer(atMost)
	defer timer.Stop()
	go func() {
		select {
		case <-timer.C():
			cancel()
		case <-ctx.Done():
		}
	}()
	return r.session.Wait(ctx)
}
