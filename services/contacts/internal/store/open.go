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

// errRepeated undoes the opening of what is open already.
var errRepeated = errors.New("attendance is open already")

// OpenAttendance opens an attendance, or finds the one that the same request opened before. A person who is not known becomes known.
func (s *Store) OpenAttendance(ctx context.Context, o Opening) (Opened, error) {
	var opened Opened
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		opened, err = openAttendance(ctx, tx, o)
		return err
	})
	if errors.Is(err, errRepeated) {
		// Looked for only now, because a request is rarely repeated. It was committed by whoever was in the way.
		return s.repeatedOpening(ctx, o)
	}
	return opened, err
}

func openAttendance(ctx context.Context, tx sqldb.Tx, o Opening) (Opened, error) {
	contact, known, err := ensureContact(ctx, tx, o)
	if err != nil {
		return Opened{}, err
	}
	opened := Opened{InteractionID: o.InteractionID, ContactID: contact}
	if known {
		if opened.Attributes, err = contactAttributes(ctx, tx, o.Instance, contact); err != nil {
			return Opened{}, err
		}
	}
	// From here to the commit nobody else opens an attendance in this instance.
	opened.AttendanceID, err = takeNumbers(ctx, tx, o.Instance, countAttendance, 1)
	if err != nil {
		return Opened{}, err
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO attendance (instance, id, interaction_id, contact_id, identifier, assistant_id, source, request_id, interactions, create_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)
		ON CONFLICT (instance, request_id) DO NOTHING`,
		o.Instance, opened.AttendanceID, o.InteractionID, contact, o.Identifier, o.AssistantID, o.Source, o.RequestID, sqldb.Micros(o.Time))
	if err != nil {
		return Opened{}, fmt.Errorf("insert attendance: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return Opened{}, fmt.Errorf("insert attendance: %w", err)
	}
	if inserted == 0 {
		return Opened{}, errRepeated
	}
	return opened, nil
}

// ensureContact gives the id of the person, who is made known if need be, and whether there may be attributes.
func ensureContact(ctx context.Context, tx sqldb.Tx, o Opening) (contact string, known bool, err error) {
	const find = `SELECT id FROM contact WHERE instance = $1 AND identifier = $2`
	err = tx.QueryRowContext(ctx, find, o.Instance, o.Identifier).Scan(&contact)
	if err == nil {
		return contact, true, nil
	}
	if !sqldb.IsNoRows(err) {
		return "", false, fmt.Errorf("find contact: %w", err)
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO contact (instance, id, identifier, create_time) VALUES ($1, $2, $3, $4)
		ON CONFLICT (instance, identifier) DO NOTHING`, o.Instance, o.ContactID, o.Identifier, sqldb.Micros(o.Time))
	if err != nil {
		return "", false, fmt.Errorf("insert contact: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return "", false, fmt.Errorf("insert contact: %w", err)
	}
	if inserted == 1 {
		return o.ContactID, false, nil
	}
	// On PostgreSQL somebody else made the person known in between.
	if err := tx.QueryRowContext(ctx, find, o.Instance, o.Identifier).Scan(&contact); err != nil {
		return "", false, fmt.Errorf("find contact: %w", err)
	}
	return contact, true, nil
}

func (s *Store) repeatedOpening(ctx context.Context, o Opening) (Opened, error) {
	opened := Opened{Repeated: true}
	reader := s.db.Reader()
	err := reader.QueryRowContext(ctx, `
		SELECT id, interaction_id, contact_id FROM attendance WHERE instance = $1 AND request_id = $2`,
		o.Instance, o.RequestID).Scan(&opened.AttendanceID, &opened.InteractionID, &opened.ContactID)
	if err != nil {
		return Opened{}, fmt.Errorf("find attendance of request: %w", err)
	}
	opened.Attributes, err = contactAttributes(ctx, reader, o.Instance, opened.ContactID)
	return opened, err
}
