package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// spoil makes a request one that the service refuses before it does anything, and gives what tells the faults that this makes. Nil for
// requests of which the gateway sees every fault.
func spoil(message proto.Message) (made func(field string) bool) {
	isLimit := func(field string) bool { return field == "filters.limit" }
	switch request := message.(type) {
	case *contactsv1.QueryContactsRequest:
		if request.Filters == nil {
			request.Filters = &contactsv1.ContactFilters{}
		}
		request.Filters.Limit = proto.Int32(0)
		return isLimit
	case *contactsv1.QueryEventsRequest:
		if request.Filters == nil {
			request.Filters = &contactsv1.EventFilters{}
		}
		request.Filters.Limit = proto.Int32(0)
		return isLimit
	case *agentv1.ListConversationsRequest:
		request.Limit = proto.Int32(0)
		return func(field string) bool { return field == "limit" }
	case *contactsv1.ImportAttendancesRequest:
		n := len(request.Attendances)
		request.Attendances = append(request.Attendances, &contactsv1.ImportedAttendance{})
		empty := "attendances[" + strconv.Itoa(n) + "]"
		return func(field string) bool { return field == "attendances" || within(field, empty) }
	}
	return nil
}

// allFaults completes the refusal of a request some of whose fields could not be read. Every fault is promised at once, and some only
// the service knows: a day that the calendar does not have, a page token that is forged or of other filters, which one is too when the
// filters cannot be read. So the service is asked, with a request that it cannot carry out. Who may not ask at all, or not now, learns
// that instead.
func (c *conn) allFaults(ctx context.Context, method string, message proto.Message, reply any, err error, opts []grpc.CallOption) error {
	var refused *refusal
	if !errors.As(err, &refused) || refused.status != http.StatusBadRequest || len(refused.invalid) == 0 {
		return err
	}
	made := spoil(message)
	if made == nil {
		return err
	}
	answer := c.next.Invoke(ctx, method, message, reply, opts...)
	switch rpcerr.Code(answer) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.NotFound, codes.ResourceExhausted:
		return answer
	case codes.InvalidArgument:
		var rest []rpcerr.Violation
		for _, v := range rpcerr.Violations(status.Convert(answer)) {
			if !made(v.Field) && !known(v.Field, refused.invalid) {
				rest = append(rest, v)
			}
		}
		refused.invalid = append(refused.invalid, rest...)
	}
	return refused
}
