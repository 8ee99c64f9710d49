package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/erasure"
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
	// Person is whom it is about, for the erasures that refuse it; the zero value is refused by none.
	Person erasure.Subject
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

// OpenAttendance opens an attendance, or finds the one that the same request opened before. A person who is not known becomes known.
// ErrErased when the person was erased after the request came.
func (s *Store) OpenAttendance(ctx context.Context, o Opening) (Opened, error) {
	return s.open(ctx, o)
}
