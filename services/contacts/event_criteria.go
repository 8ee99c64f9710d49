package contacts

import (
	"encoding/json"
	"time"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/day"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// sortAscending is the order of the least number first; any other is that of the greatest.
const sortAscending = "ASC"

// eventCriteria is what a query for events asks for, apart from the page.
type eventCriteria struct {
	instance string
	filters  *contactsv1.EventFilters
	// first and last are the seconds asked for; nil is no bound.
	first, last *day.Second
	ascending   bool
	limit       int
}

// newEventCriteria reads a request and says what is wrong with it, apart from what the contract's own rules say.
func newEventCriteria(r *contactsv1.QueryEventsRequest) (eventCriteria, []rpcerr.Violation) {
	filters := r.GetFilters()
	if filters == nil {
		filters = &contactsv1.EventFilters{}
	}
	c := eventCriteria{
		instance: r.GetInstance(), filters: filters, ascending: filters.GetSort() == sortAscending, limit: defaultLimit,
	}
	if filters.GetLimit() > 0 {
		c.limit = int(filters.GetLimit())
	}
	var violations []rpcerr.Violation
	parse := func(text *string, field string) *day.Second {
		if text == nil {
			return nil
		}
		s, err := day.ParseSecond(*text)
		if err != nil {
			violations = append(violations, rpcerr.Violation{Field: field, Reason: "must be a time of the calendar, YYYY-MM-DD HH:MM:SS"})
			return nil
		}
		return &s
	}
	c.first = parse(filters.StartDate, "filters.startDate")
	c.last = parse(filters.EndDate, "filters.endDate")
	if c.first != nil && c.last != nil && c.last.Before(*c.first) {
		violations = append(violations, rpcerr.Violation{Field: "filters.endDate", Reason: "must not be before filters.startDate"})
	}
	return c, violations
}

// scope is what page tokens are bound to beside the instance: the method, the order, and what decides which events are found. The
// size of the pages may change in the middle of a walk (AIP-158), and so may the spelling of a time.
func (c eventCriteria) scope() string {
	f := c.filters
	spelled := func(s *day.Second) any {
		if s == nil {
			return nil
		}
		return s.String()
	}
	canonical, err := json.Marshal([]any{
		f.AssistantId, f.Identifier, f.ContactId, f.ExternalId, f.EventName, spelled(c.first), spelled(c.last), c.ascending,
	})
	if err != nil {
		panic(err) // numbers and texts always have a JSON form
	}
	return contactsv1.ContactsService_QueryEvents_FullMethodName + string(canonical)
}

// filter is what the store is to find in a walk.
func (c eventCriteria) filter(w walk) store.EventFilter {
	f := c.filters
	return store.EventFilter{
		Instance: c.instance, Low: w.Low, High: w.High,
		AssistantID: f.AssistantId, AttendanceID: f.ContactId, ExternalID: f.ExternalId, Name: f.EventName, Identifier: f.Identifier,
		From: w.From, Until: w.Until,
	}
}

// span is when the seconds asked for begin and end in a place, in Unix microseconds; nil is no bound.
func (c eventCriteria) span(place *time.Location) (from, until *int64) {
	if c.first != nil {
		from = new(c.first.Start(place).UnixMicro())
	}
	if c.last != nil {
		until = new(c.last.End(place).UnixMicro())
	}
	return from, until
}

// everything reports whether all events of the instance are asked for.
func (c eventCriteria) everything() bool {
	f := c.filters
	return f.AssistantId == nil && f.Identifier == nil && f.ContactId == nil && f.ExternalId == nil && f.EventName == nil &&
		c.first == nil && c.last == nil
}
