package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// errOvertaken undoes an opening that another one of the same request was faster than, or whose person was deleted at this moment.
var errOvertaken = errors.New("attendance was opened meanwhile")

// newPostgresOpen opens attendances in transactions of their own.
func newPostgresOpen(db *sqldb.DB) openAttendance {
	return func(ctx context.Context, o Opening) (Opened, error) {
		var opened Opened
		open := func(ctx context.Context, tx sqldb.Tx) error {
			var err error
			opened, err = openPostgres(ctx, tx, o)
			return err
		}
		err := db.Write(ctx, open)
		if errors.Is(err, errOvertaken) {
			// The other one is committed now, so this one finds what it opened, or that the person is gone.
			err = db.Write(ctx, open)
		}
		if err != nil {
			return Opened{}, err
		}
		return opened, nil
	}
}

func openPostgres(ctx context.Context, tx sqldb.Tx, o Opening) (Opened, error) {
	opened, err := findOpened(ctx, tx, o)
	if err != nil {
		return Opened{}, err
	}
	if opened.ContactID == "" {
		if opened.ContactID, err = ensureContact(ctx, tx, o); err != nil {
			return Opened{}, err
		}
	}
	if opened.ContactID != o.ContactID {
		if opened.Attributes, err = contactAttributes(ctx, tx, o.Instance, opened.ContactID); err != nil {
			return Opened{}, err
		}
	}
	if opened.Repeated {
		return opened, nil
	}
	opened.InteractionID = o.InteractionID
	// From here to the commit nobody else opens an attendance in this instance.
	if opened.AttendanceID, err = takeNumbers(ctx, tx, o.Instance, countAttendance, 1); err != nil {
		return Opened{}, err
	}
	result, err := tx.ExecContext(ctx, `
		WITH opened AS (
			INSERT INTO attendance (instance, id, interaction_id, contact_id, identifier, assistant_id, source, request_id, create_time)
			SELECT $1, CAST($2 AS bigint), $3, $4, $5, CAST($6 AS bigint), $7, $8, CAST($9 AS bigint)
			WHERE EXISTS (SELECT 1 FROM contact WHERE instance = $1 AND id = $4)
				AND NOT EXISTS (SELECT 1 FROM erasure WHERE instance = $1 AND person = $10 AND cut_time >= CAST($11 AS bigint))
			ON CONFLICT (instance, request_id) DO NOTHING RETURNING instance, id
		)
		INSERT INTO progress (instance, attendance_id, interactions, history_bytes) SELECT instance, id, 0, 0 FROM opened`,
		o.Instance, opened.AttendanceID, o.InteractionID, opened.ContactID, o.Identifier, o.AssistantID, o.Source, o.RequestID,
		sqldb.Micros(o.Time), o.Person.Person(), sqldb.Micros(o.Person.Accepted))
	if err != nil {
		return Opened{}, fmt.Errorf("insert attendance: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return Opened{}, fmt.Errorf("insert attendance: %w", err)
	}
	if inserted == 0 {
		erased, err := erasure.Refuses(ctx, tx, o.Person)
		if err != nil {
			return Opened{}, err
		}
		if erased {
			return Opened{}, ErrErased
		}
		return Opened{}, errOvertaken
	}
	return opened, nil
}

// findOpened gives what is there already, in one query: the attendance that the request opened, else no more than the person.
func findOpened(ctx context.Context, tx sqldb.Tx, o Opening) (Opened, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT id, interaction_id, contact_id FROM attendance WHERE instance = $1 AND request_id = $2
		UNION ALL
		SELECT 0, '', id FROM contact WHERE instance = $1 AND identifier = $3`, o.Instance, o.RequestID, o.Identifier)
	if err != nil {
		return Opened{}, fmt.Errorf("find attendance of request: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var opened Opened
	for rows.Next() {
		var row Opened
		if err := rows.Scan(&row.AttendanceID, &row.InteractionID, &row.ContactID); err != nil {
			return Opened{}, fmt.Errorf("find attendance of request: %w", err)
		}
		row.Repeated = row.AttendanceID != 0
		if !opened.Repeated {
			opened = row
		}
	}
	if err := rows.Err(); err != nil {
		return Opened{}, fmt.Errorf("find attendance of request: %w", err)
	}
	return opened, nil
}

// ensureContact makes the person known and gives their id: that of the opening, unless somebody else was faster.
func ensureContact(ctx context.Context, tx sqldb.Tx, o Opening) (string, error) {
	result, err := tx.ExecContext(ctx, `
		INSERT INTO contact (instance, id, identifier, create_time) VALUES ($1, $2, $3, $4)
		ON CONFLICT (instance, identifier) DO NOTHING`, o.Instance, o.ContactID, o.Identifier, sqldb.Micros(o.Time))
	if err != nil {
		return "", fmt.Errorf("insert contact: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return "", fmt.Errorf("insert contact: %w", err)
	}
	if inserted == 1 {
		return o.ContactID, nil
	}
	var contact string
	err = tx.QueryRowContext(ctx, `SELECT id FROM contact WHERE instance = $1 AND identifier = $2`, o.Instance, o.Identifier).Scan(&contact)
	if err != nil {
		return "", fmt.Errorf("find contact: %w", err)
	}
	return contact, nil
}
