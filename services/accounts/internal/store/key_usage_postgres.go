package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// SharedCounter counts calls in PostgreSQL, for all processes on one database. It is safe for concurrent use.
type SharedCounter struct {
	db  *sqldb.DB
	now func() time.Time
}

var (
	_ quota.Counter = (*SharedCounter)(nil)
	_ quota.Reader  = (*SharedCounter)(nil)
)

// NewSharedCounter returns the counter in an open PostgreSQL store. now tells the time of calls; nil is the server's clock, which
// is the same for all who ask.
func NewSharedCounter(db *sqldb.DB, now func() time.Time) *SharedCounter {
	return &SharedCounter{db: db, now: now}
}

// takeCall counts a call in one statement: one round trip, one row, no transaction around it.
//
// Two calls of a key meet at the row's lock. The condition and the new values are judged after the lock is had, on the row as the
// other call left it, and by the clock of that moment: so times never run backwards in a row, and no span of a second holds more
// calls than the limit (quota.Window, in microseconds). A clock that was set back by more than a second does not lock a key out:
// calls that are further ahead are not looked at.
//
// A refused call changes nothing, and is answered from the row as it was when the statement began: it may say of less than it was
// refused for, and then gives no time to wait. Nothing at all comes back when a call of another process made the row after this
// statement began, and fills the limit.
//
// The commit does not wait for the disk: what a crash of the server loses are the calls of the last moments before it.
const takeCall = `
	WITH taken AS (
		INSERT INTO key_usage AS u (instance, key_id, kind, day, used, times)
		VALUES ($1, $2, $3, $4, $7::bigint + $8::bigint + 1, CASE WHEN $5::int = 0 THEN '{}'::bigint[] ELSE ARRAY[` + nowMicros + `] END)
		ON CONFLICT (instance, key_id, kind) DO UPDATE SET
			day   = CASE WHEN ` + sameDay + ` THEN u.day ELSE $4 END,
			used  = GREATEST(CASE WHEN ` + sameDay + ` THEN u.used ELSE 0 END, $7::bigint) + $8::bigint + 1,
			times = CASE WHEN $5::int = 0 THEN '{}'::bigint[]
			        ELSE (u.times || ` + nowMicros + `)[GREATEST(1, cardinality(u.times) + 2 - $5::int) :] END
		WHERE ($6::bigint = 0 OR GREATEST(CASE WHEN ` + sameDay + ` THEN u.used ELSE 0 END, $7::bigint) + $8::bigint < $6::bigint)
		  AND ($5::int = 0 OR cardinality(u.times) < $5::int
		       OR u.times[cardinality(u.times) - $5::int + 1] NOT BETWEEN ` + nowMicros + ` - 1000999 AND ` + nowMicros + ` + 1001000)
		RETURNING u.day, u.used, u.times
	), found AS (
		SELECT TRUE AS allowed, day, used, times FROM taken
		UNION ALL
		SELECT FALSE, CASE WHEN ` + sameDay + ` THEN u.day ELSE $4 END,
		       GREATEST(CASE WHEN ` + sameDay + ` THEN u.used ELSE 0 END, $7::bigint), u.times
		FROM key_usage AS u
		WHERE u.instance = $1 AND u.key_id = $2 AND u.kind = $3 AND NOT EXISTS (SELECT 1 FROM taken)
	), moment AS (
		SELECT ` + nowMicros + ` AS now, set_config('synchronous_commit', 'off', TRUE)
	)
	SELECT allowed, day, used,
	       (SELECT count(*) FROM unnest(times) AS t WHERE t BETWEEN now - 1000999 AND now + 1001000),
	       (SELECT COALESCE(min(t) + 1001000 - now, 0) FROM unnest(times) AS t WHERE t BETWEEN now - 1000999 AND now + 1001000)
	FROM found, moment`

const (
	// nowMicros is the time in microseconds: a given one, or the server's when it is asked, not when the statement began.
	nowMicros = `COALESCE($9::bigint, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint)`
	// sameDay is quota.Current.
	sameDay = `u.day BETWEEN $4 AND $4 + 2`
)

// Take counts a call, if that is allowed. Errors are those of package sqldb.
func (c *SharedCounter) Take(ctx context.Context, ask quota.Ask) (quota.Tally, error) {
	var now any
	if c.now != nil {
		now = sqldb.Micros(c.now())
	}
	args := []any{ask.Instance, ask.Key, ask.Kind, ask.Day, ask.PerSecond, ask.PerDay, ask.Floor, ask.Add, now}
	var tally quota.Tally
	var reset int64
	err := c.db.Query1(ctx, takeCall, args, &tally.Allowed, &tally.Day, &tally.Used, &tally.Recent, &reset)
	if sqldb.IsNoRows(err) {
		return quota.Tally{Day: ask.Day, Used: ask.Floor}, nil
	}
	if err != nil {
		return quota.Tally{}, fmt.Errorf("count call: %w", err)
	}
	// The row may have been written a moment after the statement read the time that it answers with.
	tally.Reset = min(time.Duration(reset)*time.Microsecond, quota.Window)
	return tally, nil
}

// Used is how many calls of the day each of the subjects, all of one instance, has.
func (c *SharedCounter) Used(ctx context.Context, day int64, subjects []quota.Subject) ([]int64, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	ids := make([]string, len(subjects))
	for i, s := range subjects {
		ids[i] = s.Key
	}
	rows, err := c.db.Reader().QueryContext(ctx, `
		SELECT key_id, kind, day, used FROM key_usage WHERE instance = $1 AND key_id = ANY($2::text[])`, subjects[0].Instance, ids)
	if err != nil {
		return nil, fmt.Errorf("read counts of calls: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	found := make(map[quota.Subject]int64, len(subjects))
	for rows.Next() {
		s := quota.Subject{Instance: subjects[0].Instance}
		var counted, used int64
		if err := rows.Scan(&s.Key, &s.Kind, &counted, &used); err != nil {
			return nil, fmt.Errorf("read counts of calls: %w", err)
		}
		if _, fresh := quota.Current(counted, day); !fresh {
			found[s] = used
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read counts of calls: %w", err)
	}
	used := make([]int64, len(subjects))
	for i, s := range subjects {
		used[i] = found[s]
	}
	return used, nil
}
