package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var (
	ctx   = context.Background()
	start = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	key   = idempotency.Key{Instance: "acme", Scope: "ReceiveMessage", Key: "k1", Fingerprint: [32]byte{1}}
)

func eachEngine(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	testkit.EachEngine(t, os.DirFS("testdata/migrations"), "idempotencytest", test)
}

// call runs one request whose effect is a row with the number n; a second one with the same number fails.
func call(db *sqldb.DB, clk clock.Clock, k idempotency.Key, n int) (response string, replayed bool, err error) {
	err = db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		body, again, err := idempotency.Run(ctx, tx, clk, &k, func() ([]byte, error) {
			_, err := tx.ExecContext(ctx, "INSERT INTO effects (id) VALUES ($1)", n)
			return fmt.Appendf(nil, "answer %d", n), err
		})
		response, replayed = string(body), again
		return err
	})
	return response, replayed, err
}

func rows(t *testing.T, db *sqldb.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.Reader().QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func TestMigrations(t *testing.T) {
	require.NoError(t, sqldb.CheckMigrations(os.DirFS("testdata/migrations")))
}

func TestSameKeyIsAnsweredOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		response, replayed, err := call(db, clk, key, 1)
		require.NoError(t, err)
		require.False(t, replayed)
		require.Equal(t, "answer 1", response)

		response, replayed, err = call(db, clk, key, 2)
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, "answer 1", response)
		require.Equal(t, 1, rows(t, db, "effects"))
	})
}

func TestWhatMakesAnotherKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		n := 0
		for _, change := range []func(k *idempotency.Key){
			func(*idempotency.Key) {},
			func(k *idempotency.Key) { k.Instance = "other" },
			func(k *idempotency.Key) { k.Scope = "Other" },
			func(k *idempotency.Key) { k.Key = "K1" },
			func(k *idempotency.Key) { k.Key = "k1 " },
		} {
			n++
			k := key
			change(&k)
			_, replayed, err := call(db, clk, k, n)
			require.NoError(t, err)
			require.False(t, replayed, "%+v", k)
		}
		require.Equal(t, n, rows(t, db, "effects"))
	})
}

func TestOtherRequestIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		_, _, err := call(db, clk, key, 1)
		require.NoError(t, err)
		other := key
		other.Fingerprint[31] = 1
		_, replayed, err := call(db, clk, other, 2)
		require.ErrorIs(t, err, idempotency.ErrReused)
		require.False(t, replayed)
		require.Equal(t, 1, rows(t, db, "effects"))
	})
}

func TestFailureIsForgotten(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		refused := errors.New("refused")
		err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			_, _, err := idempotency.Run(ctx, tx, clk, &key, func() ([]byte, error) { return nil, refused })
			return err
		})
		require.ErrorIs(t, err, refused)
		require.Zero(t, rows(t, db, "idempotency"))
		_, replayed, err := call(db, clk, key, 1)
		require.NoError(t, err)
		require.False(t, replayed)
	})
}

func TestEmptyResponse(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		for i, body := range [][]byte{nil, {}} {
			k := key
			k.Key = fmt.Sprint(i)
			for _, want := range []bool{false, true} {
				require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
					response, replayed, err := idempotency.Run(ctx, tx, clk, &k, func() ([]byte, error) { return body, nil })
					if len(response) != 0 || replayed != want {
						return fmt.Errorf("response %q, replayed %t", response, replayed)
					}
					return err
				}))
			}
		}
	})
}

func TestKeyExpires(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		_, _, err := call(db, clk, key, 1)
		require.NoError(t, err)
		clk.Advance(idempotency.Lifetime - time.Microsecond)
		_, replayed, err := call(db, clk, key, 2)
		require.NoError(t, err)
		require.True(t, replayed)

		clk.Advance(time.Microsecond)
		other := key
		other.Fingerprint[0]++
		response, replayed, err := call(db, clk, other, 3)
		require.NoError(t, err)
		require.False(t, replayed)
		require.Equal(t, "answer 3", response)

		clk.Advance(idempotency.Lifetime - time.Microsecond)
		response, replayed, err = call(db, clk, other, 4)
		require.NoError(t, err)
		require.True(t, replayed, "it lives anew")
		require.Equal(t, "answer 3", response)
	})
}

func TestSameKeyFiftyTimesAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		const callers = 50
		responses := make([]string, callers)
		first := make([]bool, callers)
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				var replayed bool
				responses[i], replayed, errs[i] = call(db, clk, key, i)
				first[i] = !replayed
			})
		}
		wg.Wait()
		ran := 0
		for i := range callers {
			require.NoError(t, errs[i])
			require.Equal(t, responses[0], responses[i])
			if first[i] {
				ran++
			}
		}
		require.Equal(t, 1, ran)
		require.Equal(t, 1, rows(t, db, "effects"))
	})
}

// On PostgreSQL two transactions truly run at the same time: the second must wait for the first, whichever way it ends.
func TestSecondWaitsForFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		for i, end := range []error{nil, errors.New("refused")} {
			k := key
			k.Key = fmt.Sprint("wait", i)
			inside, goOn := make(chan struct{}), make(chan struct{})
			firstDone := make(chan error, 1)
			go func() {
				firstDone <- db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
					_, _, err := idempotency.Run(ctx, tx, clk, &k, func() ([]byte, error) {
						close(inside)
						<-goOn
						return []byte("first"), end
					})
					return err
				})
			}()
			<-inside
			type answer struct {
				response string
				replayed bool
				err      error
			}
			second := make(chan answer, 1)
			go func() {
				var a answer
				a.response, a.replayed, a.err = call(db, clk, k, 100+i)
				second <- a
			}()
			awaitWaiting(t, db)
			close(goOn)
			require.ErrorIs(t, <-firstDone, end)
			want := answer{response: "first", replayed: true}
			if end != nil {
				want = answer{response: fmt.Sprint("answer ", 100+i)}
			}
			require.Equal(t, want, <-second)
		}
	})
}

// awaitWaiting returns when a call waits: in the writer's queue, or for a lock of the server.
func awaitWaiting(t *testing.T, db *sqldb.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		if db.Dialect() == sqldb.SQLite {
			return db.Stats().Waiting == 1
		}
		var waiting int
		err := db.Reader().QueryRowContext(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&waiting)
		return err == nil && waiting > 0
	}, 5*time.Second, time.Millisecond)
}

func TestSweep(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		const old = 1001 // more than two batches
		require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			for i := range old {
				k := key
				k.Key = fmt.Sprint("old", i)
				if _, _, err := idempotency.Run(ctx, tx, clk, &k, func() ([]byte, error) { return nil, nil }); err != nil {
					return err
				}
			}
			return nil
		}))
		clk.Advance(time.Microsecond)
		_, _, err := call(db, clk, key, 1)
		require.NoError(t, err)

		clk.Set(start.Add(idempotency.Lifetime - time.Microsecond))
		deleted, err := idempotency.Sweep(ctx, db, clk)
		require.NoError(t, err)
		require.Zero(t, deleted)

		clk.Set(start.Add(idempotency.Lifetime))
		deleted, err = idempotency.Sweep(ctx, db, clk)
		require.NoError(t, err)
		require.EqualValues(t, old, deleted)
		require.Equal(t, 1, rows(t, db, "idempotency"))
	})
}

func TestWithoutAKeyNothingIsKept(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start)
		for range 2 {
			require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				response, replayed, err := idempotency.Run(ctx, tx, clk, nil, func() ([]byte, error) { return []byte("answer"), nil })
				if string(response) != "answer" || replayed {
					return fmt.Errorf("response %q, replayed %t", response, replayed)
				}
				return err
			}))
		}
		require.Zero(t, rows(t, db, "idempotency"))
	})
}

func TestTakeAndRecall(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		take := func(k idempotency.Key, response string, now time.Time) (taken bool) {
			require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
				taken, err = idempotency.Take(ctx, tx, k, []byte(response), now)
				return err
			}))
			return taken
		}
		recalled := func(k idempotency.Key, now time.Time) (string, bool) {
			response, taken, err := idempotency.Recall(ctx, db.Reader(), k, now)
			require.NoError(t, err)
			return string(response), taken
		}
		_, taken := recalled(key, start)
		require.False(t, taken)
		require.True(t, take(key, "first", start))
		last := start.Add(idempotency.Lifetime - time.Microsecond)
		require.False(t, take(key, "second", last))
		response, taken := recalled(key, last)
		require.True(t, taken)
		require.Equal(t, "first", response)
		other := key
		other.Fingerprint[0]++
		_, _, err := idempotency.Recall(ctx, db.Reader(), other, last)
		require.ErrorIs(t, err, idempotency.ErrReused)

		end := start.Add(idempotency.Lifetime)
		_, taken = recalled(other, end)
		require.False(t, taken, "an expired key is free")
		require.True(t, take(other, "third", end))
		response, taken = recalled(other, end)
		require.True(t, taken)
		require.Equal(t, "third", response)
	})
}

// TestOneProcessSweeps has two processes on a store: while one goes on sweeping the other leaves it alone, and follows when it ended.
func TestOneProcessSweeps(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		take := func(clk clock.Clock) {
			require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				_, err := idempotency.Take(ctx, tx, key, nil, clk.Now().Add(-idempotency.Lifetime))
				return err
			}))
		}
		clk, late := clock.NewManual(start), clock.NewManual(start)
		run := func(c *clock.Manual, holder string) (stop func()) {
			running, cancel := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- idempotency.NewSweeper("accounts", db, c, holder).Run(running) }()
			c.AwaitTimers(1) // it has looked once, and waits
			return func() {
				cancel()
				require.NoError(t, <-ended)
			}
		}
		stop := run(clk, "one")
		take(clk)
		stopOther := run(late, "two")
		require.Equal(t, 1, rows(t, db, "idempotency"), "another one sweeps")
		stopOther()
		clk.Advance(idempotency.SweepInterval)
		require.Eventually(t, func() bool { return rows(t, db, "idempotency") == 0 }, 5*time.Second, time.Millisecond)
		clk.AwaitTimers(1)
		stop()

		late.Set(clk.Now().Add(2 * idempotency.SweepInterval))
		take(late)
		stopOther = run(late, "two")
		require.Eventually(t, func() bool { return rows(t, db, "idempotency") == 0 }, 5*time.Second, time.Millisecond)
		stopOther()
	})
}

func TestSweeper(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewManual(start.Add(idempotency.Lifetime))
		took := func(name string, expire time.Time) {
			k := key
			k.Key = name
			require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				_, err := idempotency.Take(ctx, tx, k, nil, expire.Add(-idempotency.Lifetime))
				return err
			}))
		}
		left := func(n int) {
			require.Eventually(t, func() bool { return rows(t, db, "idempotency") == n }, 5*time.Second, time.Millisecond)
		}
		took("expired", clk.Now())
		took("expires", clk.Now().Add(idempotency.SweepInterval))
		sweeper := idempotency.NewSweeper("accounts", db, clk, "one")
		require.Equal(t, "accounts-sweep", sweeper.Name())
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- sweeper.Run(running) }()
		left(1)
		clk.AwaitTimers(1)
		clk.Advance(idempotency.SweepInterval)
		left(0)
		stop()
		require.NoError(t, <-ended)

		require.NoError(t, db.Close())
		require.ErrorIs(t, sweeper.Run(ctx), sqldb.ErrUnavailable, "who runs it runs it again")
	})
}
