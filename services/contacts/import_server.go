package contacts

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/attribute"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// maxImportedBytes is how much history and events one imported attendance has at most: a page of one attendance must fit into an
	// answer.
	maxImportedBytes = 1 << 20
	// importBatch and importBatchBytes bound what one transaction stores, so that nobody else's waits long for it.
	importBatch      = 50
	importBatchBytes = 512 << 10
	// eventOverhead is about what an event takes besides its texts.
	eventOverhead = 128
	// maxFaults is how many faults one answer names, as those of the contract's rules.
	maxFaults = 100
)

// importStore is what imports need of the store.
type importStore interface {
	ImportAttendances(ctx context.Context, instance string, list []store.Import) ([]store.Imported, error)
}

// attendanceServer is AttendanceService.
type attendanceServer struct {
	contactsv1.UnimplementedAttendanceServiceServer
	store     importStore
	instances Instances
	ids       *id.Source
	metrics   *metrics
}

// CheckRequest says what is wrong with a request beyond the rules that the contract states beside its fields.
func (s *attendanceServer) CheckRequest(_ context.Context, request any) []rpcerr.Violation {
	if r, ok := request.(*contactsv1.ImportAttendancesRequest); ok {
		return importFaults(r)
	}
	return nil
}

// importFaults are the faults that the contract's rules cannot see.
func importFaults(r *contactsv1.ImportAttendancesRequest) []rpcerr.Violation {
	var faults []rpcerr.Violation
	first := make(map[string]int, len(r.GetAttendances()))
	for n, a := range r.GetAttendances() {
		fault := func(field, reason string) {
			faults = append(faults, rpcerr.Violation{Field: "attendances[" + strconv.Itoa(n) + "]." + field, Reason: reason})
		}
		if earlier, twice := first[a.GetExternalId()]; twice {
			fault("externalId", "is that of attendances["+strconv.Itoa(earlier)+"] too")
		} else {
			first[a.GetExternalId()] = n
		}
		checkTime := func(field string, at *timestamppb.Timestamp) {
			// Some systems write the first moment of the year 1 where they know of none.
			if at != nil && (at.CheckValid() != nil || at.AsTime().IsZero()) {
				fault(field, "must be a time of the years 1 to 9999, after the first moment of them")
			}
		}
		checkTime("createTime", a.GetCreateTime())
		checkTime("finishTime", a.GetFinishTime())
		if a.FinishTime != nil && a.GetFinishTime().AsTime().Before(a.GetCreateTime().AsTime()) {
			fault("finishTime", "must not be before createTime")
		}
		for i, item := range a.GetHistory() {
			place := "history[" + strconv.Itoa(i) + "]."
			checkTime(place+"time", item.GetTime())
			if item.GetPostback() != "" && item.GetSender() != senderUser {
				fault(place+"postback", "must be empty unless the sender is "+senderUser)
			}
			if item.GetPostback() == "" && len(item.GetMessages()) == 0 {
				fault(place+"messages", "must not be empty without a postback")
			}
		}
		for i, e := range a.GetEvents() {
			checkTime("events["+strconv.Itoa(i)+"].time", e.GetTime())
		}
		if importedSize(a) > maxImportedBytes {
			fault("history", "must be 1 MiB at most, together with the events")
		}
		if len(faults) >= maxFaults {
			return faults[:maxFaults]
		}
	}
	return faults
}

// importedSize is about what an attendance's history and events take.
func importedSize(a *contactsv1.ImportedAttendance) (size int) {
	for _, item := range a.GetHistory() {
		size += proto.Size(item)
	}
	for _, e := range a.GetEvents() {
		size += proto.Size(e) + eventOverhead
	}
	return size
}

// ImportAttendances takes over attendances of another system.
func (s *attendanceServer) ImportAttendances(
	ctx context.Context, r *contactsv1.ImportAttendancesRequest,
) (*contactsv1.ImportAttendancesResponse, error) {
	if faults := importFaults(r); len(faults) > 0 {
		return nil, rpcerr.Invalid(faults...)
	}
	if _, err := s.instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &contactsv1.ImportAttendancesResponse{}
	for batch := range batches(r.GetAttendances()) {
		list := make([]store.Import, len(batch))
		for n, a := range batch {
			var err error
			if list[n], err = s.imported(a); err != nil {
				return nil, rpcerr.Internal(err)
			}
		}
		stored, err := s.store.ImportAttendances(ctx, r.GetInstance(), list)
		if err != nil {
			return nil, rpcerr.FromStore(fmt.Errorf("import attendances: %w", err))
		}
		for n, a := range stored {
			result := resultRepeated
			if a.Created {
				result = resultNew
			}
			s.metrics.imported.WithLabelValues(result).Inc()
			response.Attendances = append(response.Attendances, &contactsv1.ImportedAttendanceResult{
				ExternalId: list[n].ExternalID, Id: a.AttendanceID, InteractionId: a.InteractionID, ContactId: a.ContactID, Created: a.Created,
			})
		}
	}
	return response, nil
}

// batches gives the attendances some at a time, in order.
func batches(list []*contactsv1.ImportedAttendance) func(yield func([]*contactsv1.ImportedAttendance) bool) {
	return func(yield func([]*contactsv1.ImportedAttendance) bool) {
		for from := 0; from < len(list); {
			to, bytes := from, 0
			for to < len(list) && to-from < importBatch {
				bytes += importedSize(list[to])
				if to > from && bytes > importBatchBytes {
					break
				}
				to++
			}
			if !yield(list[from:to]) {
				return
			}
			from = to
		}
	}
}

// imported is an attendance as the store takes it.
func (s *attendanceServer) imported(a *contactsv1.ImportedAttendance) (store.Import, error) {
	made := store.Import{
		ExternalID: a.GetExternalId(), InteractionID: s.ids.New(), ContactID: s.ids.New(), Identifier: a.GetIdentifier(),
		AssistantID: a.GetAssistantId(), Source: a.GetSource(), CreateTime: a.GetCreateTime().AsTime(),
	}
	last := made.CreateTime
	items := make([]*contactsv1.HistoryItem, len(a.GetHistory()))
	for n, item := range a.GetHistory() {
		if item.GetSender() == senderUser {
			made.Spoken++
		}
		items[n] = importedItem(item)
		if at := item.GetTime().AsTime(); at.After(last) {
			last = at
		}
	}
	slices.SortStableFunc(items, func(a, b *contactsv1.HistoryItem) int { return a.GetTime().AsTime().Compare(b.GetTime().AsTime()) })
	for _, e := range a.GetEvents() {
		event := importedEvent(e)
		made.Events = append(made.Events, event)
		if event.Time.After(last) {
			last = event.Time
		}
	}
	slices.SortStableFunc(made.Events, func(a, b store.Event) int { return a.Time.Compare(b.Time) })
	for name, value := range a.GetAttributes() {
		if value != "" {
			made.Attributes = append(made.Attributes, store.Attribute{Name: name, Value: value, Lookup: attribute.Lookup(name, value)})
		}
	}
	made.FinishTime = last
	if a.FinishTime != nil {
		made.FinishTime = a.GetFinishTime().AsTime()
	}
	var err error
	made.Items, err = encodeItems(items)
	return made, err
}

// importedItem is what one side said, as historyItems gives it.
func importedItem(item *contactsv1.ImportedHistoryItem) *contactsv1.HistoryItem {
	origin := map[string]messagev1.Origin{
		senderBot: messagev1.Origin_ORIGIN_BOT, senderHuman: messagev1.Origin_ORIGIN_HUMAN,
	}[item.GetSender()]
	at := milliseconds(item.GetTime())
	made := &contactsv1.HistoryItem{Time: at, Sender: item.GetSender(), Postback: item.GetPostback()}
	for _, message := range item.GetMessages() {
		message = proto.CloneOf(message)
		message.Origin = origin
		if message.GetCreateTime() == nil {
			message.CreateTime = at
		}
		made.Messages = append(made.Messages, message)
	}
	return made
}

func importedEvent(e *contactsv1.ImportedEvent) store.Event {
	details := e.GetDetails()
	if details == nil {
		details = map[string]string{}
	}
	return store.Event{
		Name: e.GetEventName(), ExternalID: e.ExternalId, Extra1: e.Extra1, Extra2: e.Extra2, Details: details,
		Time: milliseconds(e.GetTime()).AsTime(),
	}
}
