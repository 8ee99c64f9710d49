package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Opening is what an attendance is opened with.
type Opening struct {
	Instance string
	// RequestID makes a repetition known. It is unique in the instance.
	RequestID string
	// InteractionID and ContactID are new identifiers: the attendance's, and the person's unless the person is known.
	InteractionID, ContactID string
	Identifier               string
	AssistantID              int64
	Source                   string
	Time                     time.Time
}

// Opened is an attendance and what is known about its person.
type Opened struct {
	AttendanceID  int64
	InteractionID string
	ContactID     string
	Attributes    map[string]string
	// Repeated says that the attendance was there already.
	Repeated bool
}

// errOvertaken undoes an opening that another one of the same request was faster than.
var errOvertaken = errors.New("attendance was opened meanwhile")

// OpenAttendance opens an attendance, or finds the one that the same request opened before. A person who is not known becomes known.
func (s *Store) OpenAttendance(ctx context.Context, o Opening) (Opened, error) {
	var opened Opened
	open := func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		opened, err = openAttendance(ctx, tx, o)
		return err
	}
	err := s.db.Write(ctx, open)
	if errors.Is(err, errOvertaken) {
		// Only on PostgreSQL, where two transactions run at once. The other one is committed now, so this one finds what it opened.
		err = s.db.Write(ctx, open)
	}
	if err != nil {
		return Opened{}, err
	}
	return opened, nil
}

func openAttendance(ctx context.Context, tx sqldb.Tx, o Opening) (Opened, error) {
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
		INSERT INTO attendance (instance, id, interaction_id, contact_id, identifier, assistant_id, source, request_id, interactions, create_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)
		ON CONFLICT (instance, request_id) DO NOTHING`,
		o.Instance, opened.AttendanceID, o.InteractionID, opened.ContactID, o.Identifier, o.AssistantID, o.Source, o.RequestID,
		sqldb.Micros(o.Time))
	if err != nil {
		return Opened{}, fmt.Errorf("insert attendance: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return Opened{}, fmt.Errorf("insert attendance: %w", err)
	}
	if inserted == 0 {
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
