package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var (
	postgresInsertTurns = sqldb.NewBulk(`
		INSERT INTO turn (instance, turn_id, attendance_id, items) VALUES `,
		[]string{"$1", "?", "?", "?"}, `
		ON CONFLICT (instance, turn_id) DO NOTHING RETURNING turn_id`)

	// The rows are locked in the order of their numbers first: an update alone locks them in any order, and two of them would wait
	// for each other.
	postgresRaise = sqldb.NewBulk(`
		WITH raised (attendance_id, spoken, bytes, finish) AS (VALUES `,
		[]string{"CAST(? AS bigint)", "CAST(? AS bigint)", "CAST(? AS bigint)", "CAST(? AS bigint)"}, `),
		locked AS MATERIALIZED (
			SELECT attendance_id FROM progress
			WHERE instance = $1 AND attendance_id IN (SELECT attendance_id FROM raised) ORDER BY attendance_id FOR UPDATE
		)
		UPDATE progress SET
			interactions  = progress.interactions + raised.spoken,
			history_bytes = progress.history_bytes + raised.bytes,
			finish_time   = COALESCE(progress.finish_time, raised.finish)
		FROM raised JOIN locked ON locked.attendance_id = raised.attendance_id
		WHERE progress.instance = $1 AND progress.attendance_id = raised.attendance_id
		RETURNING progress.attendance_id`)
)

// recordTurnsPostgres stores turns and counts them in their attendances. It gives those that are new, and the attendances that are not
// there.
func recordTurnsPostgres(ctx context.Context, tx sqldb.Tx, instance string, turns []Turn) (kept []*Turn, unknown []int64, err error) {
	unseen := make(map[string]bool, len(turns)) // a turn may come twice in one call
	err = postgresInsertTurns.Split(len(turns), func(query string, from, to int) (err error) {
		args := make([]any, 0, 1+3*(to-from))
		args = append(args, instance)
		for i := range turns[from:to] {
			t := &turns[from+i]
			args = append(args, t.ID, t.AttendanceID, t.Items)
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err below has what went wrong
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			unseen[id] = true
		}
		return rows.Err()
	})
	if err != nil {
		return nil, nil, fmt.Errorf("insert turns: %w", err)
	}
	kept = make([]*Turn, 0, len(unseen))
	for i := range turns {
		if unseen[turns[i].ID] {
			delete(unseen, turns[i].ID)
			kept = append(kept, &turns[i])
		}
	}
	if unknown, err = raisePostgres(ctx, tx, instance, kept); err != nil || len(unknown) == 0 {
		return kept, nil, err
	}
	// Nothing can be of an attendance that is not there but what was inserted above.
	if _, err := tx.ExecContext(ctx, postgresDeleteTurns, instance, jsonList(unknown)); err != nil {
		return nil, nil, fmt.Errorf("delete turns of no attendance: %w", err)
	}
	kept = slices.DeleteFunc(kept, func(t *Turn) bool { return slices.Contains(unknown, t.AttendanceID) })
	return kept, unknown, nil
}

var postgresDeleteTurns = `DELETE FROM turn WHERE instance = $1 AND attendance_id` + postgresNumbers("$2")

// raisePostgres counts what the persons said and ends what is finished; a first end stays. It gives the attendances that are not there.
func raisePostgres(ctx context.Context, tx sqldb.Tx, instance string, turns []*Turn) (unknown []int64, err error) {
	type raise struct {
		id, spoken, bytes int64
		finish            sql.NullInt64
	}
	byID := make(map[int64]*raise)
	for _, t := range turns {
		r := byID[t.AttendanceID]
		if r == nil {
			r = &raise{id: t.AttendanceID}
			byID[t.AttendanceID] = r
		}
		r.spoken += t.Spoken
		r.bytes += int64(len(t.Items))
		if !r.finish.Valid {
			r.finish = sqldb.NullMicros(t.Finish)
		}
	}
	raises := make([]*raise, 0, len(byID))
	for _, r := range byID {
		raises = append(raises, r)
	}
	slices.SortFunc(raises, func(a, b *raise) int { return cmp.Compare(a.id, b.id) })

	err = postgresRaise.Split(len(raises), func(query string, from, to int) error {
		args := make([]any, 0, 1+4*(to-from))
		args = append(args, instance)
		for _, r := range raises[from:to] {
			args = append(args, r.id, r.spoken, r.bytes, r.finish)
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err below has what went wrong
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			delete(byID, id)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("raise attendances: %w", err)
	}
	for _, r := range raises {
		if byID[r.id] != nil {
			unknown = append(unknown, r.id)
		}
	}
	return unknown, nil
}
