package contacts

import (
	"encoding/json"
	"time"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/attribute"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/day"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// defaultLimit is the size of a page that does not name one (contract: contacts).
const defaultLimit = 100

// criteria is what a query asks for, apart from the page.
type criteria struct {
	instance string
	filters  *contactsv1.ContactFilters
	people   *store.People // nil is everybody
	// first and last are the days asked for; nil is no bound.
	first, last *day.Day
	limit       int
	// history and events are asked for and allowed.
	history, events bool
}

// newCriteria reads a request and says what is wrong with it, apart from what the contract's own rules say.
func newCriteria(r *contactsv1.QueryContactsRequest) (criteria, []rpcerr.Violation) {
	filters := r.GetFilters()
	if filters == nil {
		filters = &contactsv1.ContactFilters{}
	}
	c := criteria{
		instance: r.GetInstance(),
		filters:  filters,
		people:   people(filters, r.GetAttributes()),
		limit:    defaultLimit,
	}
	if filters.GetLimit() > 0 {
		c.limit = int(filters.GetLimit())
	}
	// Documented: a query that does not say whom it is about never gives what was said.
	if filters.GetId() != 0 || filters.GetIdentifier() != "" || r.GetAttributes().GetPhone() != "" {
		c.history, c.events = r.GetFlags().GetHistory(), r.GetFlags().GetEvents()
	}
	var violations []rpcerr.Violation
	parse := func(text *string, field string) *day.Day {
		if text == nil {
			return nil
		}
		d, err := day.Parse(*text)
		if err != nil {
			violations = append(violations, rpcerr.Violation{Field: field, Reason: "must be a day of the calendar, YYYY-MM-DD"})
			return nil
		}
		return &d
	}
	c.first = parse(filters.StartDate, "filters.startDate")
	c.last = parse(filters.EndDate, "filters.endDate")
	if c.first != nil && c.last != nil && c.last.Before(*c.first) {
		violations = append(violations, rpcerr.Violation{Field: "filters.endDate", Reason: "must not be before filters.startDate"})
	}
	return c, violations
}

// people says who is meant by identifier and attributes; nil when anybody is.
func people(filters *contactsv1.ContactFilters, asked *contactsv1.ContactAttributes) *store.People {
	p := store.People{Identifier: filters.Identifier}
	if asked != nil {
		for _, a := range []struct {
			name  string
			value *string
		}{
			{attribute.CPF, asked.Cpf},
			{attribute.Email, asked.Email},
			{attribute.IdentificationNumber, asked.IdentificationNumber},
			{attribute.IdentificationNumber2, asked.IdentificationNumber2},
			{attribute.IdentificationNumber3, asked.IdentificationNumber3},
			{attribute.IdentificationNumber4, asked.IdentificationNumber4},
			{attribute.Phone, asked.Phone},
		} {
			if a.value != nil {
				p.Attributes = append(p.Attributes, store.Lookup{Name: a.name, Form: attribute.Lookup(a.name, *a.value)})
			}
		}
	}
	if p.Identifier == nil && len(p.Attributes) == 0 {
		return nil
	}
	return &p
}

// scope is what page tokens are bound to beside the instance: the method and what decides which attendances are found. The size of
// the pages and the flags may change in the middle of a walk (AIP-158), and so may the spelling of a phone number.
func (c criteria) scope() string {
	f := c.filters
	canonical, err := json.Marshal([]any{
		f.Id, f.AssistantId, f.ExternalId, f.Source, f.StartDate, f.EndDate, c.people,
	})
	if err != nil {
		panic(err) // numbers and texts always have a JSON form
	}
	return contactsv1.ContactsService_QueryContacts_FullMethodName + string(canonical)
}

// filter is what the store is to find, without the persons.
func (c criteria) filter() store.Filter {
	f := c.filters
	return store.Filter{
		Instance: c.instance, ID: f.Id, AssistantID: f.AssistantId, ExternalID: f.ExternalId, Source: f.Source,
	}
}

// span is when the days asked for begin and end in a place, in Unix microseconds; nil is no bound.
func (c criteria) span(place *time.Location) (from, until *int64) {
	if c.first != nil {
		from = new(c.first.Start(place).UnixMicro())
	}
	if c.last != nil {
		until = new(c.last.Next().Start(place).UnixMicro())
	}
	return from, until
}

// everything reports whether all attendances of the instance are asked for.
func (c criteria) everything() bool {
	f := c.filters
	return f.Id == nil && f.AssistantId == nil && f.ExternalId == nil && f.Source == nil && f.StartDate == nil && f.EndDate == nil &&
		c.people == nil
}
