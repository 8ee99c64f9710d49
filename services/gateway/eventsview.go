package gateway

import (
	"strconv"
	"strings"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// appendEvents writes a page of events in the documented form, keys in the order of its example. Unlike on a page of attendances
// resultCount is a number, whether something was found or not.
func appendEvents(dst []byte, page *contactsv1.QueryEventsResponse) []byte {
	if len(page.GetEvents()) == 0 {
		return append(dst, `{"events":[],"resultCount":0}`...)
	}
	dst = append(dst, `{"events":[`...)
	for i, event := range page.GetEvents() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendListedEvent(dst, event)
	}
	dst = strconv.AppendInt(append(dst, `],"resultCount":`...), page.GetResultCount(), 10)
	dst = append(dst, `,"pagination":`...)
	return append(appendOptional(dst, page.Pagination), '}')
}

// appendListedEvent writes an event with the channel that its attendance came from, and a T in its date.
func appendListedEvent(dst []byte, e *contactsv1.Event) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), e.GetId(), 10)
	dst = strconv.AppendInt(append(dst, `,"assistantId":`...), e.GetAssistantId(), 10)
	dst = messagejson.AppendString(append(dst, `,"channel":`...), e.GetSource())
	dst = strconv.AppendInt(append(dst, `,"contactId":`...), e.GetAttendanceId(), 10)
	dst = appendOptional(append(dst, `,"externalId":`...), e.ExternalId)
	dst = strconv.AppendInt(append(dst, `,"eventId":`...), e.GetEventId(), 10)
	dst = messagejson.AppendString(append(dst, `,"eventName":`...), e.GetEventName())
	dst = appendOptional(append(dst, `,"extra1":`...), e.Extra1)
	dst = appendOptional(append(dst, `,"extra2":`...), e.Extra2)
	dst = appendTexts(append(dst, `,"details":`...), e.GetDetails())
	dst = messagejson.AppendString(append(dst, `,"date":`...), strings.Replace(e.GetDate(), " ", "T", 1))
	return append(dst, '}')
}
