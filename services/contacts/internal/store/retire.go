package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// retireLook is how many attendances one call of Retire looks at, and retireBatch how many of them one transaction deletes.
	retireLook  = 500
	retireBatch = 20
)

// NextInstance is the first instance after one that has attendances; empty when there is none.
func (s *Store) NextInstance(ctx context.Context, after string) (string, error) {
	var next sql.NullString
	err := s.db.Reader().QueryRowContext(ctx, `SELECT min(instance) FROM counter WHERE instance > $1`, after).Scan(&next)
	if err != nil {
		return "", fmt.Errorf("read next instance: %w", err)
	}
	return next.String, nil
}

// old is an attendance that may be deleted.
type old struct {
	number  int64
	contact string
}

// Retire deletes attendances that ended before a time with everything in them, and persons who have none any more; see
// [retention.Store]. The cursor is the opening and the number of the last one that was looked at.
func (s *Store) Retire(ctx context.Context, instance string, before time.Time, cursor string) (next string, deleted map[string]int64, err error) {
	var opened, number int64
	if cursor != "" {
		openedText, numberText, _ := strings.Cut(cursor, ":")
		if opened, err = strconv.ParseInt(openedText, 10, 64); err == nil {
			number, err = strconv.ParseInt(numberText, 10, 64)
		}
		if err != nil {
			return "", nil, fmt.Errorf("read cursor: %w", err)
		}
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
		SELECT a.id, a.contact_id, a.create_time, p.finish_time
		FROM attendance a`+s.dialect.using(byTime)+` JOIN progress p ON p.instance = a.instance AND p.attendance_id = a.id
		WHERE a.instance = $1 AND (a.create_time, a.id) > ($2, $3) AND a.create_time < $4
		ORDER BY a.create_time, a.id LIMIT $5`, instance, opened, number, sqldb.Micros(before), retireLook)
	if err != nil {
		return "", nil, fmt.Errorf("find old attendances: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var found []old
	looked := 0
	for rows.Next() {
		var a old
		var finished sql.NullInt64
		if err := rows.Scan(&a.number, &a.contact, &opened, &finished); err != nil {
			return "", nil, fmt.Errorf("find old attendances: %w", err)
		}
		looked, number = looked+1, a.number
		if finished.Valid && finished.Int64 < sqldb.Micros(before) {
			found = append(found, a) // an end never changes
		}
	}
	if err := rows.Err(); err != nil {
		return "", nil, fmt.Errorf("find old attendances: %w", err)
	}
	deleted = make(map[string]int64)
	for from := 0; from < len(found); from += retireBatch {
		if err := s.retire(ctx, instance, found[from:min(from+retireBatch, len(found))], deleted); err != nil {
			return "", nil, fmt.Errorf("delete old attendances: %w", err)
		}
	}
	if looked == retireLook {
		next = strconv.FormatInt(opened, 10) + ":" + strconv.FormatInt(number, 10)
	}
	return next, deleted, nil
}

// retire deletes attendances, and their persons when these were their last, in one transaction.
func (s *Store) retire(ctx context.Context, instance string, attendances []old, deleted map[string]int64) error {
	var counts map[string]int64
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if s.db.Dialect() == sqldb.Postgres {
			// As deleteContact: before the attendances, or two would wait for each other.
			if _, err := tx.ExecContext(ctx, `LOCK TABLE `+openedIn+` IN SHARE ROW EXCLUSIVE MODE`); err != nil {
				return err
			}
		}
		numbers := make([]int64, len(attendances))
		for i, a := range attendances {
			numbers[i] = a.number
		}
		var err error
		if counts, err = s.deleteAttendances(ctx, tx, instance, numbers); err != nil {
			return err
		}
		seen := make(map[string]bool)
		for _, a := range attendances {
			if seen[a.contact] {
				continue
			}
			seen[a.contact] = true
			var left bool
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM attendance WHERE instance = $1 AND contact_id = $2)`,
				instance, a.contact).Scan(&left)
			if err != nil {
				return err
			}
			if left {
				continue
			}
			attributes, people, err := s.deleteContact(ctx, tx, instance, a.contact)
			if err != nil {
				return err
			}
			counts[KindAttributes] += attributes
			counts[KindContacts] += people
		}
		return nil
	})
	for kind, n := range counts {
		deleted[kind] += n
	}
	return err
}
