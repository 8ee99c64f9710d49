package contacts

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/attribute"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxAttributeName is how many characters the name of an attribute has at most. It is a part of a key, and PostgreSQL's keys are
// bounded.
const maxAttributeName = 256

// recordStore is what recording needs of the store.
type recordStore interface {
	OpenAttendance(ctx context.Context, o store.Opening) (store.Opened, error)
	RecordTurns(ctx context.Context, instance string, turns []store.Turn) (fresh int, unknown []int64, err error)
}

// recordServer is RecordService.
type recordServer struct {
	contactsv1.UnimplementedRecordServiceServer
	store   recordStore
	ids     *id.Source
	hasher  *erasure.Hasher
	metrics *metrics
}

// OpenAttendance opens an attendance for a person's first message.
func (s *recordServer) OpenAttendance(ctx context.Context, r *contactsv1.OpenAttendanceRequest) (*contactsv1.OpenAttendanceResponse, error) {
	if !storable(r.GetIdentifier()) {
		return nil, rpcerr.Invalid(rpcerr.Violation{Field: "identifier", Reason: "must be text without NUL"})
	}
	opened, err := s.store.OpenAttendance(ctx, store.Opening{
		Instance:      r.GetInstance(),
		RequestID:     r.GetRequestId(),
		InteractionID: cmp.Or(r.GetInteractionId(), s.ids.New()),
		ContactID:     s.ids.New(),
		Identifier:    r.GetIdentifier(),
		AssistantID:   r.GetAssistantId(),
		Source:        r.GetSource(),
		Time:          r.GetTime().AsTime(),
		Person: erasure.Subject{
			Hasher: s.hasher, Instance: r.GetInstance(), Identifier: r.GetIdentifier(), Accepted: r.GetTime().AsTime(),
		},
	})
	if err != nil {
		return nil, fromErased(err)
	}
	result := resultNew
	if opened.Repeated {
		result = resultRepeated
	}
	s.metrics.opened.WithLabelValues(result).Inc()
	return &contactsv1.OpenAttendanceResponse{
		AttendanceId:  opened.AttendanceID,
		InteractionId: opened.InteractionID,
		ContactId:     opened.ContactID,
		Attributes:    opened.Attributes,
	}, nil
}

// RecordTurns stores finished turns, all or none but those of attendances that are not there.
func (s *recordServer) RecordTurns(ctx context.Context, r *contactsv1.RecordTurnsRequest) (*contactsv1.RecordTurnsResponse, error) {
	turns := make([]store.Turn, len(r.GetTurns()))
	var violations []rpcerr.Violation
	for n, record := range r.GetTurns() {
		for name := range record.GetAttributes() {
			if name == "" || utf8.RuneCountInString(name) > maxAttributeName {
				violations = append(violations, rpcerr.Violation{
					Field:  "turns[" + strconv.Itoa(n) + "].attributes",
					Reason: "names must have 1 to 256 characters",
				})
				break
			}
		}
		items, err := encodeItems(historyItems(record))
		if err != nil {
			return nil, rpcerr.Internal(err)
		}
		turns[n] = store.Turn{
			ID:           record.GetTurnId(),
			AttendanceID: record.GetAttendanceId(),
			Items:        items,
			Spoken:       spoken(record),
			Events:       events(record),
			Attributes:   attributes(record),
		}
		if record.GetFinished() {
			turns[n].Finish = record.GetAnswerTime().AsTime()
		}
	}
	if len(violations) > 0 {
		return nil, rpcerr.Invalid(violations...)
	}
	fresh, unknown, err := s.store.RecordTurns(ctx, r.GetInstance(), turns)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	lost := 0
	for i := range turns {
		if slices.Contains(unknown, turns[i].AttendanceID) {
			lost++
		}
	}
	s.metrics.turns.WithLabelValues(resultNew).Add(float64(fresh))
	s.metrics.turns.WithLabelValues(resultUnknown).Add(float64(lost))
	s.metrics.turns.WithLabelValues(resultRepeated).Add(float64(len(turns) - fresh - lost))
	return &contactsv1.RecordTurnsResponse{UnknownAttendanceIds: unknown}, nil
}

func events(record *contactsv1.TurnRecord) []store.Event {
	if len(record.GetEvents()) == 0 {
		return nil
	}
	list := make([]store.Event, len(record.GetEvents()))
	for n, e := range record.GetEvents() {
		details := e.GetDetails()
		if details == nil {
			details = map[string]string{}
		}
		list[n] = store.Event{
			Name:    cleaned(e.GetName()),
			Details: details,
			Time:    record.GetAnswerTime().AsTime().Truncate(time.Millisecond),
		}
	}
	return list
}

func attributes(record *contactsv1.TurnRecord) []store.Attribute {
	if len(record.GetAttributes()) == 0 {
		return nil
	}
	list := make([]store.Attribute, 0, len(record.GetAttributes()))
	for name, value := range record.GetAttributes() {
		name, value = cleaned(name), cleaned(value)
		list = append(list, store.Attribute{Name: name, Value: value, Lookup: attribute.Lookup(name, value)})
	}
	return list
}

// storable reports whether both engines can keep s as text: PostgreSQL has no NUL in texts.
func storable(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// cleaned takes out of what a person may have written what cannot be kept as text. To refuse it instead would make the agent
// hand the turn over for ever.
func cleaned(s string) string {
	if storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
