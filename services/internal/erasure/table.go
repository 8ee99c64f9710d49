package erasure

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	beginSQL = `
INSERT INTO erasure (instance, person, cut_time, counts, scrub_time) VALUES ($1, $2, $3, '{}', 0)
ON CONFLICT (instance, person, cut_time) DO UPDATE SET finish_time = NULL`

	finishSQL = `
UPDATE erasure SET counts = $4, finish_time = $5, scrub_time = CASE WHEN CAST($6 AS BIGINT) > 0 THEN NULL ELSE scrub_time END
WHERE instance = $1 AND person = $2 AND cut_time = $3`

	raiseSQL = `UPDATE erasure SET cut_time = $4 WHERE instance = $1 AND person = $2 AND cut_time = $3`

	refusesSQL = `SELECT EXISTS (SELECT 1 FROM erasure WHERE instance = $1 AND person = $2 AND cut_time >= $3)`

	doneSQL = `
SELECT EXISTS (SELECT 1 FROM erasure WHERE instance = $1 AND person = $2 AND cut_time >= $3 AND finish_time IS NOT NULL)`

	unfinishedSQL = `SELECT instance, person, cut_time FROM erasure WHERE finish_time IS NULL`

	listSQL = `
SELECT person, cut_time, counts FROM erasure
WHERE instance = $1 AND (cut_time, person) < ($2, $3) AND finish_time IS NOT NULL
ORDER BY cut_time DESC, person DESC LIMIT $4`
)

// Begin stores a record, before anything is deleted: from the end of its transaction on nothing is stored of the person that was
// accepted up to the cut.
//
// On PostgreSQL the transaction first takes the lock of the given table, the one whose INSERT looks for the record: so it waits for
// those that are on their way in and began before, and they are there to be deleted. Without a table nothing is waited for.
func Begin(ctx context.Context, db *sqldb.DB, r Record, table string) error {
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if db.Dialect() == sqldb.Postgres && table != "" {
			if _, err := tx.ExecContext(ctx, `LOCK TABLE `+table+` IN SHARE MODE`); err != nil {
				return err
			}
		}
		if db.Dialect() == sqldb.SQLite {
			GuardOf(db).forget()
		}
		_, err := tx.ExecContext(ctx, beginSQL, r.Instance, r.Person, sqldb.Micros(r.Cut))
		return err
	})
	if err != nil {
		return fmt.Errorf("begin erasure: %w", err)
	}
	return nil
}

// Raise moves the cut of a record that was begun to a later time.
func Raise(ctx context.Context, db *sqldb.DB, r Record, cut time.Time) error {
	_, err := db.Exec1(ctx, raiseSQL, r.Instance, r.Person, sqldb.Micros(r.Cut), sqldb.Micros(cut))
	if err != nil {
		return fmt.Errorf("raise cut of erasure: %w", err)
	}
	return nil
}

// Finish notes that everything was deleted. If there was something, the files are to be scrubbed.
func Finish(ctx context.Context, db *sqldb.DB, r Record, now time.Time) error {
	counts, err := json.Marshal(r.Counts)
	if err != nil {
		return fmt.Errorf("encode counts of erasure: %w", err)
	}
	_, err = db.Exec1(ctx, finishSQL, r.Instance, r.Person, sqldb.Micros(r.Cut), string(counts), sqldb.Micros(now), r.total())
	if err != nil {
		return fmt.Errorf("finish erasure: %w", err)
	}
	return nil
}

// total is how many things were deleted.
func (r *Record) total() (n int64) {
	for _, count := range r.Counts {
		n += count
	}
	return n
}

// Refuses reports whether what is to be stored of a person came before the person was erased.
func Refuses(ctx context.Context, r sqldb.Reader, s Subject) (bool, error) {
	person := s.Person()
	if person == "" {
		return false, nil
	}
	var refused bool
	err := r.QueryRowContext(ctx, refusesSQL, s.Instance, person, sqldb.Micros(s.Accepted)).Scan(&refused)
	if err != nil {
		return false, fmt.Errorf("look for erasure: %w", err)
	}
	return refused, nil
}

// Missing gives those of the records that the store does not know to be done, in their order: it is an older copy.
func Missing(ctx context.Context, r sqldb.Reader, records []Record) ([]Record, error) {
	var missing []Record
	for _, record := range records {
		var done bool
		if err := r.QueryRowContext(ctx, doneSQL, record.Instance, record.Person, sqldb.Micros(record.Cut)).Scan(&done); err != nil {
			return nil, fmt.Errorf("look for erasure: %w", err)
		}
		if !done {
			missing = append(missing, record)
		}
	}
	return missing, nil
}

// Unfinished gives the records whose erasure began and did not end, for the process was killed.
func Unfinished(ctx context.Context, r sqldb.Reader) ([]Record, error) {
	rows, err := r.QueryContext(ctx, unfinishedSQL)
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var all []Record
	for rows.Next() {
		var record Record
		var cut int64
		if err := rows.Scan(&record.Instance, &record.Person, &cut); err != nil {
			return nil, fmt.Errorf("read erasures: %w", err)
		}
		record.Cut = sqldb.Time(cut)
		all = append(all, record)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	return all, nil
}

// Position is a place in the list of an instance's erasures.
type Position struct {
	Cut    time.Time
	Person string
}

// List gives the erasures of an instance that are before a position, newest first.
func List(ctx context.Context, r sqldb.Reader, instance string, before Position, limit int) ([]Record, error) {
	rows, err := r.QueryContext(ctx, listSQL, instance, sqldb.Micros(before.Cut), before.Person, limit)
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var page []Record
	for rows.Next() {
		record := Record{Instance: instance}
		var cut int64
		var counts string
		if err := rows.Scan(&record.Person, &cut, &counts); err != nil {
			return nil, fmt.Errorf("list erasures: %w", err)
		}
		record.Cut = sqldb.Time(cut)
		if err := json.Unmarshal([]byte(counts), &record.Counts); err != nil {
			return nil, fmt.Errorf("read counts of erasure: %w", err)
		}
		page = append(page, record)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	return page, nil
}

const (
	unscrubbedSQL = `SELECT max(finish_time) FROM erasure WHERE scrub_time IS NULL AND finish_time IS NOT NULL`
	scrubbedSQL   = `UPDATE erasure SET scrub_time = $2 WHERE scrub_time IS NULL AND finish_time <= $1`
)

// unscrubbed is when the last erasure ended of which something may be left in the files; false if there is none.
func unscrubbed(ctx context.Context, db *sqldb.DB) (last int64, ok bool, err error) {
	var found sql.NullInt64
	if err := db.Reader().QueryRowContext(ctx, unscrubbedSQL).Scan(&found); err != nil {
		return 0, false, fmt.Errorf("look for erasures to scrub: %w", err)
	}
	return found.Int64, found.Valid, nil
}

func scrubbed(ctx context.Context, db *sqldb.DB, last int64, now time.Time) error {
	if _, err := db.Exec1(ctx, scrubbedSQL, last, sqldb.Micros(now)); err != nil {
		return fmt.Errorf("note that erasures were scrubbed: %w", err)
	}
	return nil
}
