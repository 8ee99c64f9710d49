package contacts

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/day"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// readEvents takes a request apart. The walk is nil on the first page.
func (s *contactsServer) readEvents(r *contactsv1.QueryEventsRequest) (eventCriteria, *walk, []rpcerr.Violation) {
	c, violations := newEventCriteria(r)
	w, found := s.readWalk(r.GetPagination(), c.instance, c.scope())
	return c, w, append(violations, found...)
}

// QueryEvents gives a page of the events that match every given filter.
func (s *contactsServer) QueryEvents(ctx context.Context, r *contactsv1.QueryEventsRequest) (*contactsv1.QueryEventsResponse, error) {
	c, w, violations := s.readEvents(r)
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
		begun, err := s.events.begin(ctx, c, place)
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		w = &begun
	}
	result, err := s.events.page(ctx, c, *w)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &contactsv1.QueryEventsResponse{
		Events: make([]*contactsv1.Event, len(result.events)), ResultCount: w.Count,
	}
	for n, e := range result.events {
		response.Events[n] = eventMessage(e, e.Source, place)
	}
	if result.next != nil {
		token := s.pages.Encode(c.instance, c.scope(), result.next.encode())
		response.Pagination = &token
	}
	s.metrics.eventQueries.WithLabelValues(page).Inc()
	return response, nil
}

func eventMessage(e store.Event, source string, place *time.Location) *contactsv1.Event {
	return &contactsv1.Event{
		Id:           e.ID,
		AssistantId:  e.AssistantID,
		AttendanceId: e.AttendanceID,
		ExternalId:   e.ExternalID,
		EventName:    e.Name,
		EventId:      e.TypeID,
		Extra1:       e.Extra1,
		Extra2:       e.Extra2,
		Details:      e.Details,
		Time:         timestamppb.New(e.Time),
		Source:       source,
		Date:         day.SecondIn(e.Time, place),
	}
}
