package sqldb_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// held is a store whose writer is inside a function, so that whatever is written now waits behind it.
type held struct {
	*sqldb.DB
	release chan struct{}
	first   chan error
	answers chan error
	sent    int
}

// hold opens a SQLite store and blocks its writer with a function that inserts the row "first" and, when released, returns result.
func hold(t *testing.T, result error) *held {
	t.Helper()
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	// The clock stands still, so that only the queue decides where a group ends.
	options.Clock = clock.NewManual(sqldb.Time(0))
	h := &held{DB: testkit.Open(t, options), release: make(chan struct{}), first: make(chan error, 1), answers: make(chan error, 1000)}
	running := make(chan struct{})
	go func() {
		h.first <- h.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			close(running)
			<-h.release
			if _, err := tx.ExecContext(ctx, insert, "first"); err != nil {
				return err
			}
			return result
		})
	}()
	<-running
	return h
}

// queue sends fn and returns when it waits in the queue.
func (h *held) queue(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) {
	go func() { h.answers <- h.Write(ctx, fn) }()
	h.sent++
	for h.Stats().Waiting < h.sent {
		runtime.Gosched()
	}
}

func (h *held) collect() (failed []error) {
	for range h.sent {
		if err := <-h.answers; err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func TestGroupCommitCountsExactly(t *testing.T) {
	h := hold(t, nil)
	before := h.Stats()
	for i := range 63 {
		h.queue(ctx, insertFn(fmt.Sprint("row", i)))
	}
	close(h.release)
	require.NoError(t, <-h.first)
	require.Empty(t, h.collect())

	after := h.Stats()
	require.EqualValues(t, 64, after.Writes-before.Writes)
	require.EqualValues(t, 1, after.Commits-before.Commits, "what came while the first ran is committed with it")
	require.Equal(t, 64, rowCount(t, h.Reader()))
}

func TestGroupIsBounded(t *testing.T) {
	for extra, commits := range map[int]int64{0: 1, 1: 2} {
		h := hold(t, nil)
		for i := range sqldb.MaxGroup - 1 + extra {
			h.queue(ctx, insertFn(fmt.Sprint("row", i)))
		}
		close(h.release)
		require.NoError(t, <-h.first)
		require.Empty(t, h.collect())
		require.Equal(t, commits, h.Stats().Commits)
		require.Equal(t, sqldb.MaxGroup+extra, rowCount(t, h.Reader()))
	}
}

func TestNeighboursFail(t *testing.T) {
	fail := func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, insert, "bad"); err != nil {
			return err
		}
		return errRefused
	}
	failUnwritten := func(context.Context, sqldb.Tx) error { return errRefused }
	crash := func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, insert, "bad"); err != nil {
			return err
		}
		panic("bad")
	}
	twice := func(ctx context.Context, tx sqldb.Tx) error {
		for range 2 {
			if _, err := tx.ExecContext(ctx, insert, "bad"); err != nil {
				return err
			}
		}
		return nil
	}
	for name, test := range map[string]struct {
		first      error
		neighbours []func(ctx context.Context, tx sqldb.Tx) error
		commits    int64
		rows       int
	}{
		"one in the middle":        {nil, fns(insertFn("a"), fail, insertFn("b")), 1, 3},
		"the last":                 {nil, fns(insertFn("a"), insertFn("b"), fail), 1, 3},
		"the first":                {errRefused, fns(insertFn("a"), insertFn("b")), 1, 2},
		"the first and the second": {errRefused, fns(fail, insertFn("a"), insertFn("b")), 1, 2},
		"all":                      {errRefused, fns(fail, fail), 0, 0},
		"without a statement":      {nil, fns(failUnwritten, insertFn("a")), 1, 2},
		"by panic":                 {nil, fns(insertFn("a"), crash, insertFn("b")), 1, 3},
		"by constraint":            {nil, fns(insertFn("a"), twice, insertFn("b")), 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			h := hold(t, test.first)
			for _, fn := range test.neighbours {
				h.queue(ctx, fn)
			}
			close(h.release)
			require.ErrorIs(t, <-h.first, test.first)
			h.collect()
			require.Equal(t, test.commits, h.Stats().Commits)
			require.Equal(t, test.rows, rowCount(t, h.Reader()))
			var bad int
			require.NoError(t, h.Reader().QueryRowContext(ctx, count+" WHERE id = 'bad'").Scan(&bad))
			require.Zero(t, bad)
		})
	}
}

func fns(list ...func(ctx context.Context, tx sqldb.Tx) error) []func(ctx context.Context, tx sqldb.Tx) error {
	return list
}

func TestCallerThatLeavesTheQueueIsSkipped(t *testing.T) {
	h := hold(t, nil)
	leaving, leave := context.WithCancel(ctx)
	h.queue(leaving, insertFn("left"))
	h.queue(ctx, insertFn("stayed"))
	leave()
	require.ErrorIs(t, <-h.answers, context.Canceled, "before the writer is free")
	h.sent--
	close(h.release)
	require.NoError(t, <-h.first)
	require.Empty(t, h.collect())
	require.Equal(t, 2, rowCount(t, h.Reader()))

	require.ErrorIs(t, h.Write(leaving, insertFn("late")), context.Canceled)
}

func TestCallerThatLeavesWhileItRunsGetsTheTrueResult(t *testing.T) {
	h := hold(t, nil)
	leaving, leave := context.WithCancel(ctx)
	h.queue(leaving, func(inner context.Context, tx sqldb.Tx) error {
		leave()
		if err := inner.Err(); err != nil {
			return err
		}
		// Not even the wrong context breaks the group.
		_, err := tx.ExecContext(leaving, insert, "kept")
		return err
	})
	h.queue(ctx, insertFn("neighbour"))
	close(h.release)
	require.NoError(t, <-h.first)
	require.Empty(t, h.collect())
	require.Equal(t, 3, rowCount(t, h.Reader()))
}

func TestFunctionThatEndsItsGoroutine(t *testing.T) {
	h := hold(t, nil)
	h.queue(ctx, func(context.Context, sqldb.Tx) error {
		runtime.Goexit()
		return nil
	})
	close(h.release)
	require.ErrorIs(t, <-h.first, sqldb.ErrUnavailable)
	var panicked *sqldb.PanicError
	require.ErrorAs(t, <-h.answers, &panicked)
	require.Zero(t, rowCount(t, h.Reader()))
	require.NoError(t, h.Write(ctx, insertFn("a")), "the store goes on")
}

func TestCloseFinishesWhatIsQueued(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	db, err := sqldb.Open(ctx, options)
	require.NoError(t, err)
	h := &held{DB: db, answers: make(chan error, 1000)}
	running, release := make(chan struct{}), make(chan struct{})
	go func() {
		h.answers <- db.Write(ctx, func(context.Context, sqldb.Tx) error {
			close(running)
			<-release
			return nil
		})
	}()
	<-running
	for i := range 3 {
		h.queue(ctx, insertFn(fmt.Sprint("row", i)))
	}
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	close(release)
	require.NoError(t, <-closed)
	h.sent++
	for _, err := range h.collect() {
		require.ErrorIs(t, err, sqldb.ErrClosed)
	}
	require.Equal(t, 3, rowCount(t, testkit.Open(t, options).Reader()))
}

func TestFailedStore(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	db, err := sqldb.Open(ctx, options)
	require.NoError(t, err)
	require.NoError(t, db.Write(ctx, insertFn("a")))
	select {
	case <-db.Failed():
		require.Fail(t, "has not failed yet")
	default:
	}
	sqldb.FailNow(db)
	<-db.Failed()
	err = db.Write(ctx, insertFn("b"))
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.ErrorContains(t, err, "must restart")
	require.ErrorIs(t, db.Ping(ctx), sqldb.ErrUnavailable)
	require.Equal(t, 1, rowCount(t, db.Reader()), "what is stored can be read")
	require.NoError(t, db.Close())
	require.Equal(t, 1, rowCount(t, testkit.Open(t, options).Reader()), "the next process recovers")
}

func BenchmarkWrite(b *testing.B) {
	open := func(b *testing.B) *sqldb.DB {
		options := testkit.Options(b, sqldb.SQLite, migrations, service)
		options.Logger = nil
		return testkit.Open(b, options)
	}
	const callers = 64
	b.Run("grouped", func(b *testing.B) {
		db := open(b)
		var next counter
		b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := db.Write(ctx, insertFn(next.id())); err != nil {
					b.Error(err)
				}
			}
		})
		stats := db.Stats()
		b.ReportMetric(float64(stats.Writes)/float64(stats.Commits), "writes/commit")
	})
	b.Run("one_by_one", func(b *testing.B) {
		db := open(b)
		var next counter
		for b.Loop() {
			if err := db.Write(ctx, insertFn(next.id())); err != nil {
				b.Fatal(err)
			}
		}
		stats := db.Stats()
		b.ReportMetric(float64(stats.Writes)/float64(stats.Commits), "writes/commit")
	})
}
