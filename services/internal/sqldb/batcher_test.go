package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// addition is an operation: it stores a key once.
type addition struct {
	key int
	// size is the result: that of the batch which it was in.
	size int
}

func addAll(ctx context.Context, tx sqldb.Tx, operations []*addition) error {
	for _, operation := range operations {
		operation.size = len(operations)
		if _, err := tx.ExecContext(ctx, `INSERT INTO items (instance, id) VALUES ('i', $1)`, fmt.Sprint(operation.key)); err != nil {
			return err
		}
	}
	return nil
}

func TestBatcherRunsWaitingOperationsTogether(t *testing.T) {
	testkit.EachEngine(t, migrations, service, func(t *testing.T, db *sqldb.DB) {
		batcher := sqldb.NewBatcher(db, addAll)
		const count = 300
		operations := make([]addition, count)
		errs := make([]error, count)
		var wg sync.WaitGroup
		for i := range count {
			wg.Go(func() {
				operations[i].key = i
				errs[i] = batcher.Do(t.Context(), &operations[i])
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		require.Equal(t, count, rowCount(t, db.Reader()))
		for i := range operations {
			require.Positive(t, operations[i].size)
		}
	})
}

func TestBatcherGathersWhileTheStoreIsBusy(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations, service))
	const count = 64
	gathered := make(chan struct{})
	batcher := sqldb.NewBatcher(db, func(ctx context.Context, tx sqldb.Tx, operations []*addition) error {
		return addAll(ctx, tx, operations)
	})
	var wg sync.WaitGroup
	holding := make(chan struct{})
	wg.Go(func() {
		_ = db.Write(t.Context(), func(context.Context, sqldb.Tx) error {
			close(holding)
			<-gathered
			return nil
		})
	})
	<-holding
	operations := make([]addition, count)
	for i := range operations {
		operations[i].key = i
		wg.Go(func() { _ = batcher.Do(t.Context(), &operations[i]) })
	}
	require.Eventually(t, func() bool { return batcher.Waiting() == count }, 10*time.Second, time.Millisecond)
	before := db.Stats().Commits
	close(gathered)
	wg.Wait()
	for i := range operations {
		require.Equal(t, count, operations[i].size, "all in one batch")
	}
	require.LessOrEqual(t, db.Stats().Commits-before, int64(2))
}

func TestBatcherSparesTheOthersFromABadOperation(t *testing.T) {
	testkit.EachEngine(t, migrations, service, func(t *testing.T, db *sqldb.DB) {
		batcher := sqldb.NewBatcher(db, addAll)
		require.NoError(t, batcher.Do(t.Context(), &addition{key: 7}))
		const count = 32
		errs := make([]error, count)
		var wg sync.WaitGroup
		for i := range count {
			wg.Go(func() { errs[i] = batcher.Do(t.Context(), &addition{key: i}) })
		}
		wg.Wait()
		for i, err := range errs {
			if i == 7 {
				require.True(t, sqldb.IsUnique(err), "%v", err)
			} else {
				require.NoError(t, err)
			}
		}
		require.Equal(t, count, rowCount(t, db.Reader()))
	})
}

func TestBatcherLeavesOutWhoseCallerLeft(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations, service))
	batcher := sqldb.NewBatcher(db, addAll)
	holding, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(t.Context(), func(context.Context, sqldb.Tx) error {
			close(holding)
			<-release
			return nil
		})
	})
	<-holding
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	wg.Go(func() { left <- batcher.Do(ctx, &addition{key: 1}) })
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	close(release)
	wg.Wait()
	require.NoError(t, batcher.Do(t.Context(), &addition{key: 2}))
	require.Equal(t, 1, rowCount(t, db.Reader()))
}

func TestBatcherSaysWhenTheStoreIsClosed(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations, service))
	batcher := sqldb.NewBatcher(db, addAll)
	require.NoError(t, db.Close())
	require.ErrorIs(t, batcher.Do(t.Context(), &addition{key: 1}), sqldb.ErrUnavailable)
}

func TestBatcherGathersUnderLoadOnly(t *testing.T) {
	clk := clock.NewManual(time.Unix(1_700_000_000, 0))
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	options.Clock = clk
	db := testkit.Open(t, options)
	const window = 5 * time.Millisecond
	batcher := sqldb.NewBatcher(db, addAll).Gather(window)
	do := func(key int) <-chan error {
		done := make(chan error, 1)
		go func() { done <- batcher.Do(t.Context(), &addition{key: key}) }()
		return done
	}

	// Alone nobody waits.
	require.NoError(t, <-do(0))
	require.NoError(t, <-do(1))

	// Two that meet are a load: who comes next waits for others, or for enough of them.
	holding, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = db.Write(t.Context(), func(context.Context, sqldb.Tx) error {
			close(holding)
			<-release
			return nil
		})
	}()
	<-holding
	first, second := do(2), do(3)
	require.Eventually(t, func() bool { return batcher.Waiting() == 2 }, 10*time.Second, time.Millisecond)
	close(release)
	require.NoError(t, errors.Join(<-first, <-second))

	waiting := do(4)
	clk.AwaitTimers(1)
	require.Equal(t, 1, batcher.Waiting())
	clk.Advance(window)
	require.NoError(t, <-waiting)
	require.NoError(t, <-do(5), "it was alone: the load is over")
	require.Equal(t, 6, rowCount(t, db.Reader()))
}
