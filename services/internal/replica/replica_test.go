package replica_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/replica"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience is how long a test waits for what happens at once, or after a second.
const (
	patience = 20 * time.Second
	tick     = 5 * time.Millisecond
)

var migrations = func() fstest.MapFS {
	steps := fstest.MapFS{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		steps[dialect+"/00001_lease.sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
CREATE TABLE worker_lease (instance TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name));
-- +goose Down
DROP TABLE worker_lease;
`)}
	}
	return steps
}()

// process is one of several that share a store.
type process struct {
	*replica.Replica
	t       *testing.T
	db      *sqldb.DB
	metrics *prometheus.Registry
	heard   chan string // subjects of the topic "work"
	dead    chan int64
	stop    context.CancelFunc
	ended   chan struct{}
}

// start opens the store for one more process, and runs it.
func start(t *testing.T, options sqldb.Options) *process {
	t.Helper()
	p := &process{
		t: t, db: testkit.Open(t, options), metrics: prometheus.NewRegistry(), heard: make(chan string, 1000), dead: make(chan int64, 10),
		ended: make(chan struct{}),
	}
	var err error
	p.Replica, err = replica.New(replica.Options{
		Store: options.Service, DB: p.db, IDs: id.NewSource(clock.System(), nil), Clock: clock.System(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: p.metrics,
	})
	require.NoError(t, err)
	p.On("work", func(subject string) { p.heard <- subject })
	p.WhenDead(func(ctx context.Context, tx sqldb.Tx, token int64) error {
		p.dead <- token
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	p.stop = func() {
		stop()
		<-p.ended
	}
	go func() {
		defer close(p.ended)
		if err := p.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	t.Cleanup(p.stop)
	return p
}

// kill does to the store's server what the end of the process does.
func (p *process) kill() { require.NoError(p.t, p.db.Close()) }

func (p *process) awaitToken() {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return p.Token() != 0 }, patience, tick)
}

// hears waits until this process hears of a subject that another one tells, and says what it heard before it.
func (p *process) hears(teller *process, subject string) (before []string) {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	retell := time.NewTicker(50 * time.Millisecond) // the teller may not know yet that there is somebody
	defer retell.Stop()
	for {
		teller.Tell("work", subject)
		select {
		case heard := <-p.heard:
			if heard == subject {
				return before
			}
			before = append(before, heard)
		case <-retell.C:
		case <-deadline.C:
			require.FailNow(p.t, "nothing is heard")
		}
	}
}

func (p *process) deaths() float64 {
	families, err := p.metrics.Gather()
	require.NoError(p.t, err)
	for _, family := range families {
		if family.GetName() == "prosa_replica_deaths_total" {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	require.FailNow(p.t, "no such metric")
	return 0
}

func shared(t *testing.T) sqldb.Options {
	return testkit.Options(t, sqldb.Postgres, migrations, "replica")
}

func TestOthersHearAndNobodyElse(t *testing.T) {
	options := shared(t)
	one, two, three := start(t, options), start(t, options), start(t, options)
	elsewhere := options
	elsewhere.Service = "another"
	stranger := start(t, elsewhere)
	for _, p := range []*process{one, two, three, stranger} {
		p.awaitToken()
		require.Empty(t, <-p.heard, "it begins by looking for itself")
	}
	two.hears(one, "a")
	three.hears(one, "a")
	one.Tell("other-topic", "x")
	two.hears(one, "b")
	one.hears(two, "back")
	for len(one.heard) > 0 {
		require.Equal(t, "back", <-one.heard, "nobody hears of itself")
	}
	require.Empty(t, stranger.heard)
}

// TestCutConnectionHeals cuts the connection of a process that lives on.
func TestCutConnectionHeals(t *testing.T) {
	options := shared(t)
	one, two := start(t, options), start(t, options)
	one.awaitToken()
	two.awaitToken()
	two.hears(one, "before")
	token := two.Token()
	var last time.Time // the database's, a moment before the last cut
	// sessions gives an aggregate over the connections that both hear by, which were not cut yet.
	sessions := func(aggregate string) (n int) {
		require.NoError(t, one.db.Reader().QueryRowContext(t.Context(), "SELECT "+aggregate+" FROM pg_stat_activity "+
			"WHERE datname = current_database() AND application_name = 'prosa-replica-session' AND backend_start > $1", last).Scan(&n))
		return n
	}
	for cut := range 3 {
		require.Eventually(t, func() bool { return sessions("count(*)") == 2 }, patience, tick, "one may come back after two")
		var now time.Time
		require.NoError(t, one.db.Reader().QueryRowContext(t.Context(), "SELECT now()").Scan(&now))
		require.Equal(t, 2, sessions("count(pg_terminate_backend(pid))"))
		last = now
		require.Contains(t, two.hears(one, fmt.Sprintf("cut-%d", cut)), "",
			"what was told meanwhile may be anything")
	}
	two.awaitToken()
	require.Equal(t, token, two.Token())
	require.Zero(t, one.deaths()+two.deaths(), "nobody has died")
}

func TestLeasesOfTheDeadAreTakenBack(t *testing.T) {
	options := shared(t)
	one, two, three := start(t, options), start(t, options), start(t, options)
	for _, p := range []*process{one, two, three} {
		p.awaitToken()
	}
	now := time.Now()
	_, held, err := worklease.Take(t.Context(), two.db, "sweep", two.Holder(), now, now.Add(time.Hour))
	require.NoError(t, err)
	require.True(t, held)
	_, held, err = worklease.Take(t.Context(), three.db, "other", three.Holder(), now, now.Add(time.Hour))
	require.NoError(t, err)
	require.True(t, held)
	token := two.Token()

	killed := time.Now()
	two.kill()
	require.Eventually(t, func() bool { return one.deaths()+three.deaths() == 1 }, patience, tick)
	t.Logf("taken back after %v", time.Since(killed))
	select {
	case dead := <-one.dead:
		require.Equal(t, token, dead)
	case dead := <-three.dead:
		require.Equal(t, token, dead)
	}
	epoch, held, err := worklease.Take(t.Context(), one.db, "sweep", one.Holder(), now, now.Add(time.Hour))
	require.NoError(t, err)
	require.True(t, held, "its lease is free")
	require.EqualValues(t, 2, epoch)
	_, held, err = worklease.Take(t.Context(), one.db, "other", one.Holder(), now, now.Add(time.Hour))
	require.NoError(t, err)
	require.False(t, held, "that of one who lives is not")

	// A process that comes finds those of whom nobody else is left.
	one.kill()
	three.kill()
	four := start(t, options)
	require.Eventually(t, func() bool { return four.deaths() == 2 }, patience, tick)
	_, held, err = worklease.Take(t.Context(), four.db, "other", four.Holder(), now, now.Add(time.Hour))
	require.NoError(t, err)
	require.True(t, held)
}

// TestTokenOutlivesRun: what a process has begun it may finish after the soft stop.
func TestTokenOutlivesRun(t *testing.T) {
	options := shared(t)
	one, two := start(t, options), start(t, options)
	one.awaitToken()
	two.awaitToken()
	two.hears(one, "a")
	two.stop()
	require.NotZero(t, two.Token())
	locks := func() (n int) {
		require.NoError(t, one.db.Reader().QueryRowContext(t.Context(), `
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n))
		return n
	}
	require.Equal(t, 2, locks())
	two.kill()
	require.Eventually(t, func() bool { return one.deaths() == 1 }, patience, tick, "what it left is taken up")
	require.Equal(t, 1, locks())
}

func TestFailureToTakeBackIsTriedAgain(t *testing.T) {
	options := shared(t)
	one := start(t, options)
	one.awaitToken()
	_, err := one.db.Exec1(t.Context(), `
INSERT INTO worker_lease (instance, name, holder, epoch, expire_time)
VALUES ('', 'process/nonsense', 'nonsense', 1, 0), ('', 'process/77', '77', 1, 0)`)
	require.NoError(t, err)
	require.EqualValues(t, 77, <-one.dead, "another one's does not keep it")
	require.Eventually(t, func() bool { return one.deaths() == 1 }, patience, tick)
}

func TestEmbeddedStoreHasOneProcess(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, "replica")
	one := start(t, options)
	require.Equal(t, "embedded", one.Holder())
	require.Zero(t, one.Token())
	one.Tell("work", "a")
	one.stop()
	require.Empty(t, one.heard)
	count, err := testutil.GatherAndCount(one.metrics, "prosa_replica_connected")
	require.NoError(t, err)
	require.Equal(t, 1, count)

	var none *replica.Replica
	none.Tell("work", "a")
	none.On("work", nil)
	require.Zero(t, none.Token())
}
