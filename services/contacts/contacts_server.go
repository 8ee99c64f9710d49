package contacts

import (
	"context"
	"time"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/day"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// contactsServer is ContactsService.
type contactsServer struct {
	contactsv1.UnimplementedContactsServiceServer
	queries *queries
	events  *eventQueries
	pages   *pagetoken.Codec
	places  *places
	metrics *metrics
}

// CheckRequest says what is wrong with a request beyond the rules that the contract states beside its fields, so that one answer can
// name all of it. The methods check the same.
func (s *contactsServer) CheckRequest(_ context.Context, request any) []rpcerr.Violation {
	var violations []rpcerr.Violation
	switch r := request.(type) {
	case *contactsv1.QueryContactsRequest:
		_, _, violations = s.read(r)
	case *contactsv1.QueryEventsRequest:
		_, _, violations = s.readEvents(r)
	}
	return violations
}

// read takes a request apart. The walk is nil on the first page.
func (s *contactsServer) read(r *contactsv1.QueryContactsRequest) (criteria, *walk, []rpcerr.Violation) {
	c, violations := newCriteria(r)
	w, found := s.readWalk(r.GetPagination(), c.instance, c.scope())
	return c, w, append(violations, found...)
}

// readWalk reads the walk in a page token of a scope. It is nil when there is no token.
func (s *contactsServer) readWalk(token, instance, scope string) (*walk, []rpcerr.Violation) {
	if token == "" {
		return nil, nil
	}
	payload, err := s.pages.Decode(token, instance, scope)
	if err != nil {
		return nil, []rpcerr.Violation{pagetoken.Violation("pagination", err)}
	}
	w, err := decodeWalk(payload)
	if err != nil {
		return nil, []rpcerr.Violation{pagetoken.Violation("pagination", err)}
	}
	return w, nil
}

// QueryContacts gives a page of the attendances that match every given filter, newest first.
func (s *contactsServer) QueryContacts(ctx context.Context, r *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
	c, w, violations := s.read(r)
	if len(violations) > 0 {
		return nil, rpcerr.Invalid(violations...)
	}
	place, err := s.places.of(ctx, c.instance)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	page := pageNext
	if w == nil {
		page = pageFirst
		begun, err := s.queries.begin(ctx, c, place)
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		w = &begun
	}
	result, err := s.queries.page(ctx, c, *w)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response, err := s.response(c, place, result)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	s.metrics.queries.WithLabelValues(page).Inc()
	return response, nil
}

func (s *contactsServer) response(c criteria, place *time.Location, result found) (*contactsv1.QueryContactsResponse, error) {
	response := &contactsv1.QueryContactsResponse{
		Contacts:    make([]*contactsv1.Attendance, len(result.attendances)),
		ResultCount: result.count,
	}
	for n, a := range result.attendances {
		message := attendanceMessage(a, result.attributes[a.ContactID], place)
		if err := decodeItems(result.history[a.ID], message); err != nil {
			return nil, err
		}
		for _, e := range result.events[a.ID] {
			message.Events = append(message.Events, eventMessage(e, a.Source, place))
		}
		response.Contacts[n] = message
	}
	if result.next != nil {
		token := s.pages.Encode(c.instance, c.scope(), result.next.encode())
		response.Pagination = &token
	}
	return response, nil
}

func attendanceMessage(a store.Attendance, attributes map[string]string, place *time.Location) *contactsv1.Attendance {
	message := &contactsv1.Attendance{
		Id:            a.ID,
		Identifier:    a.Identifier,
		AssistantId:   a.AssistantID,
		Source:        a.Source,
		ExternalId:    a.ExternalID,
		Interactions:  a.Interactions,
		DateCreated:   day.In(a.CreateTime, place).String(),
		Attributes:    attributes,
		InteractionId: a.InteractionID,
		ContactId:     a.ContactID,
	}
	if !a.FinishTime.IsZero() {
		finished := day.In(a.FinishTime, place).String()
		message.FinishedAt = &finished
	}
	return message
}
