package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var (
	// A turn of no attendance finds no progress, and is not inserted. CROSS JOIN keeps the turns the outer loop, and in their order.
	sqliteInsertTurns = sqldb.NewSQLiteBulk(`
		INSERT OR IGNORE INTO turn (instance, turn_id, attendance_id, previous, items)
		SELECT p.instance, v.column1, p.attendance_id, p.last_turn, v.column3
		FROM (VALUES `,
		[]string{"?", "?", "?"}, `) AS v CROSS JOIN progress AS p
		WHERE p.instance = ? AND p.attendance_id = v.column2`)

	// Every row is there already. This is quicker than an UPDATE, which would first write its list into a table of its own.
	sqliteRaise = sqldb.NewSQLiteBulk(`
		INSERT INTO progress (instance, attendance_id, interactions, history_bytes, finish_time, last_turn) VALUES `,
		[]string{"?", "?", "?", "?", "?", "?"}, `
		ON CONFLICT (instance, attendance_id) DO UPDATE SET
			interactions  = progress.interactions + excluded.interactions,
			history_bytes = progress.history_bytes + excluded.history_bytes,
			finish_time   = COALESCE(progress.finish_time, excluded.finish_time),
			last_turn     = excluded.last_turn`)
)

// turnRow is a turn on its way into the table.
type turnRow struct {
	*Turn
	seq     int64 // 0 while it is not stored
	unknown bool  // its attendance is not there
}

// recordTurnsSQLite stores turns and counts them in their attendances. It gives those that are new, and the attendances that are not
// there. Nobody else writes meanwhile.
func recordTurnsSQLite(ctx context.Context, tx sqldb.Tx, instance string, turns []Turn) (kept []*Turn, unknown []int64, err error) {
	rows := make([]turnRow, len(turns))
	for i := range turns {
		rows[i].Turn = &turns[i]
	}
	// A turn is linked to the one before it, so the statements take one of each attendance at a time.
	for _, round := range rounds(rows, func(r *turnRow) int64 { return r.AttendanceID }) {
		stored, err := insertRound(ctx, tx, instance, round)
		if err != nil {
			return nil, nil, err
		}
		if err := raiseSQLite(ctx, tx, instance, stored); err != nil {
			return nil, nil, err
		}
	}
	kept = make([]*Turn, 0, len(rows))
	for i := range rows {
		switch {
		case rows[i].seq != 0:
			kept = append(kept, rows[i].Turn)
		case rows[i].unknown && !slices.Contains(unknown, rows[i].AttendanceID):
			unknown = append(unknown, rows[i].AttendanceID)
		}
	}
	return kept, unknown, nil
}

// rounds puts the n-th row of each key into the n-th round, in the order of the rows.
func rounds[T any, K comparable](rows []T, key func(*T) K) [][]*T {
	first := make([]*T, 0, len(rows)) // mostly there is one round
	list := [][]*T{first}
	seen := make(map[K]int, len(rows))
	for i := range rows {
		k := key(&rows[i])
		n := seen[k]
		seen[k] = n + 1
		if n == len(list) {
			list = append(list, nil)
		}
		list[n] = append(list[n], &rows[i])
	}
	return list
}

// insertRound stores turns of different attendances, and gives those that are new.
func insertRound(ctx context.Context, tx sqldb.Tx, instance string, round []*turnRow) ([]*turnRow, error) {
	complete := true
	err := sqliteInsertTurns.Split(len(round), func(query string, from, to int) error {
		part := round[from:to]
		args := make([]any, 0, 3*len(part)+1)
		for _, r := range part {
			args = append(args, r.ID, r.AttendanceID, r.Items)
		}
		result, err := tx.ExecContext(ctx, query, append(args, instance)...)
		if err != nil {
			return fmt.Errorf("insert turns: %w", err)
		}
		inserted, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("insert turns: %w", err)
		}
		last, err := result.LastInsertId()
		if err != nil {
			return fmt.Errorf("insert turns: %w", err)
		}
		if inserted == int64(len(part)) {
			// Each row's number is the next after the greatest there is.
			for i, r := range part {
				r.seq = last - inserted + 1 + int64(i)
			}
			return nil
		}
		complete = false
		return findInserted(ctx, tx, instance, part, last-inserted+1, last)
	})
	if err != nil || complete {
		return round, err
	}
	stored := make([]*turnRow, 0, len(round))
	for _, r := range round {
		if r.seq != 0 {
			stored = append(stored, r)
		}
	}
	return stored, nil
}

// findInserted finds out which turns got the numbers from first to last, and whether the others are repetitions or of attendances that
// are not there. There are no such numbers when last is less than first.
func findInserted(ctx context.Context, tx sqldb.Tx, instance string, part []*turnRow, first, last int64) error {
	rows, err := tx.QueryContext(ctx, `SELECT attendance_id, seq FROM turn WHERE seq BETWEEN ? AND ?`, first, last)
	if err != nil {
		return fmt.Errorf("read inserted turns: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	seqs := make(map[int64]int64, len(part))
	for rows.Next() {
		var attendance, seq int64
		if err := rows.Scan(&attendance, &seq); err != nil {
			return fmt.Errorf("read inserted turns: %w", err)
		}
		seqs[attendance] = seq
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read inserted turns: %w", err)
	}
	for _, r := range part {
		if r.seq = seqs[r.AttendanceID]; r.seq != 0 {
			continue
		}
		var repeated bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM turn WHERE instance = ? AND turn_id = ?)`, instance, r.ID).Scan(&repeated)
		if err != nil {
			return fmt.Errorf("look for turn: %w", err)
		}
		r.unknown = !repeated
	}
	return nil
}

// raiseSQLite counts what the persons said and ends what is finished; a first end stays. The turns are of different attendances.
func raiseSQLite(ctx context.Context, tx sqldb.Tx, instance string, stored []*turnRow) error {
	err := sqliteRaise.Split(len(stored), func(query string, from, to int) error {
		args := make([]any, 0, 6*(to-from))
		for _, r := range stored[from:to] {
			finish := any(nil)
			if !r.Finish.IsZero() {
				finish = sqldb.Micros(r.Finish)
			}
			args = append(args, instance, r.AttendanceID, r.Spoken, len(r.Items), finish, r.seq)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("raise attendances: %w", err)
	}
	return nil
}
