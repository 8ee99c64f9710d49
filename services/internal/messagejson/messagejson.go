// Package messagejson writes messages in the documented JSON forms of the API
// Channel and the Bot API, to the byte: the order of the fields, the empty texts
// and the milliseconds are those of the documentation's examples, because
// receivers were built on them. protojson promises none of that.
package messagejson

import (
	"time"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// createdAtLayout always has three digits of milliseconds; with a time in UTC
// the zone is "Z".
const createdAtLayout = "2006-01-02T15:04:05.000Z07:00"

// Append appends m in its full form, as webhooks carry it, and returns the
// longer slice. It allocates nothing but room in dst. A message without
// content is an empty text; one of unknown origin is the agent's.
func Append(dst []byte, m *messagev1.Message) []byte {
	dst = appendContent(dst, m, false)
	dst = append(dst, `,"origin":`...)
	if m.GetOrigin() == messagev1.Origin_ORIGIN_HUMAN {
		dst = append(dst, `"human"`...)
	} else {
		dst = append(dst, `"bot"`...)
	}
	dst = append(dst, `,"createdAt":"`...)
	created := m.GetCreateTime()
	dst = time.Unix(created.GetSeconds(), int64(created.GetNanos())).UTC().AppendFormat(dst, createdAtLayout)
	return append(dst, `"}`...)
}

// AppendBare appends m without origin and createdAt, as the history of an
// attendance shows it: {"text":"…","type":"text"}. A text has its words first
// there, by the documentation's example; everything else keeps the order of the
// full form.
func AppendBare(dst []byte, m *messagev1.Message) []byte {
	return append(appendContent(dst, m, true), '}')
}

// AppendContent appends m without origin and createdAt, as the messages of a
// conversation show it: {"type":"text","text":"…"}.
func AppendContent(dst []byte, m *messagev1.Message) []byte {
	return append(appendContent(dst, m, false), '}')
}

// appendContent appends the object of m up to its content, without the brace
// that ends it.
func appendContent(dst []byte, m *messagev1.Message, textFirst bool) []byte {
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Date:
		dst = append(dst, `{"type":"date","text":`...)
		return AppendString(dst, content.Date.GetText())
	case *messagev1.Message_Buttons:
		dst = append(dst, `{"msgid":`...)
		dst = AppendString(dst, m.GetMsgid())
		dst = append(dst, `,"type":"buttons","buttons":`...)
		return appendButtons(dst, content.Buttons)
	case *messagev1.Message_List:
		dst = append(dst, `{"msgid":`...)
		dst = AppendString(dst, m.GetMsgid())
		dst = append(dst, `,"type":"list","list":`...)
		return appendList(dst, content.List)
	case *messagev1.Message_Media:
		dst = append(dst, `{"type":"media","media":`...)
		return AppendMedia(dst, content.Media)
	}
	if textFirst {
		dst = append(dst, `{"text":`...)
		dst = AppendString(dst, m.GetText().GetText())
		return append(dst, `,"type":"text"`...)
	}
	dst = append(dst, `{"type":"text","text":`...)
	return AppendString(dst, m.GetText().GetText())
}

func appendButtons(dst []byte, buttons *messagev1.Buttons) []byte {
	dst = append(dst, `{"text":`...)
	dst = AppendString(dst, buttons.GetText())
	dst = append(dst, `,"options":[`...)
	for i, option := range buttons.GetOptions() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"label":`...)
		dst = AppendString(dst, option.GetLabel())
		dst = append(dst, `,"value":`...)
		dst = AppendString(dst, option.GetValue())
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

func appendList(dst []byte, list *messagev1.List) []byte {
	dst = append(dst, `{"text":`...)
	dst = AppendString(dst, list.GetText())
	dst = append(dst, `,"title":`...)
	dst = AppendString(dst, list.GetTitle())
	dst = append(dst, `,"options":[`...)
	for i, section := range list.GetSections() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSection(dst, section)
	}
	return append(dst, `]}`...)
}

func appendSection(dst []byte, section *messagev1.Section) []byte {
	dst = append(dst, '{')
	// The section of a simple list has no label at all, not an empty one.
	if section != nil && section.Label != nil {
		dst = append(dst, `"label":`...)
		dst = AppendString(dst, section.GetLabel())
		dst = append(dst, ',')
	}
	dst = append(dst, `"items":[`...)
	for i, item := range section.GetItems() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"label":`...)
		dst = AppendString(dst, item.GetLabel())
		dst = append(dst, `,"description":`...)
		dst = AppendString(dst, item.GetDescription())
		dst = append(dst, `,"value":`...)
		dst = AppendString(dst, item.GetValue())
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// AppendMedia appends the object that stands under "media", which is the same
// on the API Channel and the Bot API.
func AppendMedia(dst []byte, media *messagev1.Media) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, mediaType(media.GetKind())...)
	dst = append(dst, `","link":`...)
	dst = AppendString(dst, media.GetLink())
	dst = append(dst, `,"filename":`...)
	dst = AppendString(dst, media.GetFilename())
	dst = append(dst, `,"text":`...)
	dst = AppendString(dst, media.GetText())
	return append(dst, '}')
}

// mediaType returns the documented word for kind. An unknown kind is a
// document: whatever it is, a receiver can offer it for download.
func mediaType(kind messagev1.Media_Kind) string {
	switch kind {
	case messagev1.Media_KIND_IMAGE:
		return "image"
	case messagev1.Media_KIND_VIDEO:
		return "video"
	case messagev1.Media_KIND_AUDIO:
		return "audio"
	case messagev1.Media_KIND_STICKER:
		return "sticker"
	}
	return "document"
}
