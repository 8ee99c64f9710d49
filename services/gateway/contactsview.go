package gateway

import (
	"maps"
	"slices"
	"strconv"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

const historyTimeLayout = "2006-01-02T15:04:05.000Z07:00"

// appendContacts writes a page of attendances in the documented form, keys in the order of its example. Nothing found is a body
// of its own, with status 404, where resultCount is a number; elsewhere it is a string.
func appendContacts(dst []byte, request *contactsv1.QueryContactsRequest, page *contactsv1.QueryContactsResponse) []byte {
	if len(page.GetContacts()) == 0 {
		return append(dst, `{"contacts":[],"resultCount":0}`...)
	}
	view := contactsView{history: request.GetFlags().GetHistory(), events: request.GetFlags().GetEvents()}
	if !namesPerson(request) {
		view = contactsView{}
	}
	dst = append(dst, `{"contacts":[`...)
	for i, attendance := range page.GetContacts() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = view.appendAttendance(dst, attendance)
	}
	dst = append(dst, `],"resultCount":"`...)
	dst = strconv.AppendInt(dst, page.GetResultCount(), 10)
	dst = append(dst, `","pagination":`...)
	return append(appendOptional(dst, page.Pagination), '}')
}

// namesPerson reports whether the query is about one attendance or one person; only then history and events are given.
func namesPerson(request *contactsv1.QueryContactsRequest) bool {
	filters := request.GetFilters()
	return filters != nil && (filters.Id != nil || filters.Identifier != nil) ||
		request.GetAttributes() != nil && request.GetAttributes().Phone != nil
}

// contactsView says what stands in an attendance besides itself. What was not asked for, or not allowed, is absent.
type contactsView struct{ history, events bool }

func (v contactsView) appendAttendance(dst []byte, a *contactsv1.Attendance) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), a.GetId(), 10)
	dst = messagejson.AppendString(append(dst, `,"identifier":`...), a.GetIdentifier())
	dst = strconv.AppendInt(append(dst, `,"assistantId":`...), a.GetAssistantId(), 10)
	dst = messagejson.AppendString(append(dst, `,"source":`...), a.GetSource())
	dst = appendOptional(append(dst, `,"externalId":`...), a.ExternalId)
	dst = strconv.AppendInt(append(dst, `,"interactions":`...), a.GetInteractions(), 10)
	dst = messagejson.AppendString(append(dst, `,"dateCreated":`...), a.GetDateCreated())
	dst = appendOptional(append(dst, `,"finishedAt":`...), a.FinishedAt)
	dst = appendTexts(append(dst, `,"attributes":`...), a.GetAttributes())
	if v.history {
		dst = append(dst, `,"history":[`...)
		for i, item := range a.GetHistory() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendHistoryItem(dst, item)
		}
		dst = append(dst, ']')
	}
	if v.events {
		dst = append(dst, `,"events":[`...)
		for i, event := range a.GetEvents() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendEvent(dst, event)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func appendHistoryItem(dst []byte, item *contactsv1.HistoryItem) []byte {
	dst = item.GetTime().AsTime().AppendFormat(append(dst, `{"time":"`...), historyTimeLayout)
	dst = messagejson.AppendString(append(dst, `","sender":`...), item.GetSender())
	dst = append(dst, `,"message":[`...)
	for i, message := range item.GetMessages() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = messagejson.AppendBare(dst, message)
	}
	dst = append(dst, ']')
	if item.GetPostback() != "" {
		dst = messagejson.AppendString(append(dst, `,"postback":`...), item.GetPostback())
	}
	return append(dst, '}')
}

// appendEvent writes an event of an attendance. Its contactId is the number of the attendance.
func appendEvent(dst []byte, e *contactsv1.Event) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), e.GetId(), 10)
	dst = strconv.AppendInt(append(dst, `,"assistantId":`...), e.GetAssistantId(), 10)
	dst = strconv.AppendInt(append(dst, `,"contactId":`...), e.GetAttendanceId(), 10)
	dst = appendOptional(append(dst, `,"externalId":`...), e.ExternalId)
	dst = messagejson.AppendString(append(dst, `,"eventName":`...), e.GetEventName())
	dst = strconv.AppendInt(append(dst, `,"eventId":`...), e.GetEventId(), 10)
	dst = appendOptional(append(dst, `,"extra1":`...), e.Extra1)
	dst = appendOptional(append(dst, `,"extra2":`...), e.Extra2)
	dst = appendTexts(append(dst, `,"details":`...), e.GetDetails())
	dst = messagejson.AppendString(append(dst, `,"date":`...), e.GetDate())
	return append(dst, '}')
}

func appendOptional(dst []byte, text *string) []byte {
	if text == nil {
		return append(dst, "null"...)
	}
	return messagejson.AppendString(dst, *text)
}

// appendTexts writes names and texts as an object, by name, so that the same query has the same bytes.
func appendTexts(dst []byte, texts map[string]string) []byte {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(texts)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(messagejson.AppendString(dst, name), ':')
		dst = messagejson.AppendString(dst, texts[name])
	}
	return append(dst, '}')
}
