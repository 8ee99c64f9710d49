package replica

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// lookInterval is how often it is looked for the dead.
	lookInterval = 400 * time.Millisecond
	// confirmTime is how long a process must have been without its lock: one that has only lost its connection is back by then.
	confirmTime = 200 * time.Millisecond
	// settleTime is how long nobody is judged after the connection was lost.
	settleTime = 2 * time.Second
)

const (
	processPrefix = "process/"

	announceSQL = `
INSERT INTO worker_lease (instance, name, holder, epoch, expire_time) VALUES ('', $1, $2, 1, 0) ON CONFLICT (instance, name) DO NOTHING`

	// isAlive is the condition that the holder of a row l of worker_lease has its lock. An advisory lock's number is shown in two halves
	// (https://www.postgresql.org/docs/15/view-pg-locks.html).
	isAlive = `EXISTS (
    SELECT 1 FROM pg_locks AS k
    WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
        AND k.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND CAST((CAST(k.classid AS BIGINT) << 32) | CAST(k.objid AS BIGINT) AS TEXT) = l.holder)`

	listSQL = `SELECT l.holder, ` + isAlive + ` FROM worker_lease AS l WHERE l.instance = '' AND l.name = '` + processPrefix + `' || l.holder`

	unlistSQL = `DELETE FROM worker_lease AS l WHERE l.instance = '' AND l.name = $1 AND l.holder = $2 AND NOT ` + isAlive

	endLeasesSQL = `UPDATE worker_lease SET expire_time = 0 WHERE instance = '' AND holder = $1`
)

// announce lists this process.
func (r *Replica) announce(ctx context.Context) error {
	return r.session.Exec(ctx, announceSQL, processPrefix+r.holder, r.holder)
}

// look takes back the leases of processes that have died, and says when to look again.
func (r *Replica) look(ctx context.Context) (next time.Duration, err error) {
	// The end of ctx would cut the connection off, and with it the token.
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	var dead []string
	var listed bool
	var fellows int64
	err = r.session.Query(asked, listSQL, nil, func(row func(dest ...any) error) error {
		var holder string
		var alive bool
		if err := row(&holder, &alive); err != nil {
			return err
		}
		switch {
		case holder == r.holder:
			listed = true
		case alive:
			fellows++
			delete(r.suspects, holder)
		default:
			dead = append(dead, holder)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	r.fellows.Store(fellows)
	r.metrics.others.Set(float64(fellows))
	if !listed { // it was thought dead meanwhile
		if err := r.announce(asked); err != nil {
			return 0, err
		}
	}
	next, now := lookInterval, r.Clock.Now()
	for _, holder := range dead {
		since, suspected := r.suspects[holder]
		if !suspected {
			since = now
			r.suspects[holder] = now
		}
		if left := confirmTime - now.Sub(since); left > 0 {
			next = min(next, left)
			continue
		}
		if err := r.takeBack(ctx, holder); err != nil {
			r.Logger.LogAttrs(ctx, slog.LevelWarn, "leases of a process that died could not be taken back",
				slog.String("store", r.Store), slog.String("error", err.Error()), slog.Duration("retry_in", lookInterval))
			continue
		}
		delete(r.suspects, holder)
	}
	return next, nil
}

// takeBack takes back the leases of a process that died. If several do it at once one of them finds something.
func (r *Replica) takeBack(ctx context.Context, holder string) error {
	token, err := strconv.ParseInt(holder, 10, 64)
	if err != nil {
		return fmt.Errorf("read token of process: %w", err)
	}
	var mine bool
	err = r.DB.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		result, err := tx.ExecContext(ctx, unlistSQL, processPrefix+holder, holder)
		if err != nil {
			return fmt.Errorf("unlist process: %w", err)
		}
		n, err := result.RowsAffected()
		if mine = err == nil && n == 1; !mine {
			return err // another one does it, or it is alive again
		}
		if _, err := tx.ExecContext(ctx, endLeasesSQL, holder); err != nil {
			return fmt.Errorf("end leases: %w", err)
		}
		for _, void := range r.voids {
			if err := void(ctx, tx, token); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !mine {
		return err
	}
	r.metrics.takenBack.Inc()
	r.Logger.LogAttrs(ctx, slog.LevelWarn, "a process has died: its leases are taken back", slog.String("store", r.Store),
		slog.String("process", holder))
	r.wakeAll()
	for topic := range r.topics {
		r.Tell(topic, "")
	}
	return nil
}
