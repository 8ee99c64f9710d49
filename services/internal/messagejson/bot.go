package messagejson

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// BotOutput is a message as the Bot API documents it. Buttons and lists are a
// select; the sections of a list stand one after the other, and their headings,
// for which it has no place, are left out. A message without content is an
// empty text.
func BotOutput(m *messagev1.Message) *channelv1.BotOutput {
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Date:
		text := content.Date.GetText()
		return &channelv1.BotOutput{Type: "date", Text: &text}
	case *messagev1.Message_Buttons:
		return botSelect(content.Buttons.GetText(), botOptions(nil, content.Buttons.GetOptions()))
	case *messagev1.Message_List:
		var options []*channelv1.BotOption
		for _, section := range content.List.GetSections() {
			options = botOptions(options, section.GetItems())
		}
		return botSelect(content.List.GetText(), options)
	case *messagev1.Message_Media:
		return &channelv1.BotOutput{Type: "media", Media: &channelv1.BotMedia{
			Type: mediaType(content.Media.GetKind()), Link: content.Media.GetLink(), Filename: content.Media.GetFilename(),
			Text: content.Media.GetText(),
		}}
	}
	text := m.GetText().GetText()
	return &channelv1.BotOutput{Type: "text", Text: &text}
}

func botSelect(text string, options []*channelv1.BotOption) *channelv1.BotOutput {
	return &channelv1.BotOutput{Type: "select", Text: &text, Payload: &channelv1.BotSelect{Pick: text, Options: options}}
}

func botOptions(to []*channelv1.BotOption, from []*messagev1.Option) []*channelv1.BotOption {
	to = slices.Grow(to, len(from))
	for _, option := range from {
		to = append(to, &channelv1.BotOption{Title: option.GetLabel(), Value: option.GetValue()})
	}
	return to
}

// AppendBotAnswer appends the body of a Bot API's callback and returns the
// longer slice.
func AppendBotAnswer(dst []byte, a *channelv1.BotAnswer) []byte {
	return append(AppendBotAnswerFields(append(dst, '{'), a), '}')
}

// AppendBotAnswerFields appends what stands between the braces of
// AppendBotAnswer: an answer of version V1 has it beside other fields. The
// context is left out when it is not set.
func AppendBotAnswerFields(dst []byte, a *channelv1.BotAnswer) []byte {
	dst = AppendString(append(dst, `"identifier":`...), a.GetIdentifier())
	dst = append(dst, `,"output":[`...)
	for i, output := range a.GetOutput() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendBotOutput(dst, output)
	}
	dst = append(dst, ']')
	if a.GetContext() != nil {
		dst = AppendStruct(append(dst, `,"context":`...), a.GetContext())
	}
	return dst
}

func appendBotOutput(dst []byte, output *channelv1.BotOutput) []byte {
	dst = AppendString(append(dst, `{"type":`...), output.GetType())
	if output.Text != nil {
		dst = AppendString(append(dst, `,"text":`...), output.GetText())
	}
	if payload := output.GetPayload(); payload != nil {
		dst = AppendString(append(dst, `,"payload":{"pick":`...), payload.GetPick())
		dst = append(dst, `,"options":[`...)
		for i, option := range payload.GetOptions() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendString(append(dst, `{"title":`...), option.GetTitle())
			dst = append(AppendString(append(dst, `,"value":`...), option.GetValue()), '}')
		}
		dst = append(dst, `]}`...)
	}
	if media := output.GetMedia(); media != nil {
		dst = AppendString(append(dst, `,"media":{"type":`...), media.GetType())
		dst = AppendString(append(dst, `,"link":`...), media.GetLink())
		dst = AppendString(append(dst, `,"filename":`...), media.GetFilename())
		dst = append(AppendString(append(dst, `,"text":`...), media.GetText()), '}')
	}
	return append(dst, '}')
}

// AppendStruct appends an object without white space, its names in the order of
// their bytes, so that equal values have equal bytes.
func AppendStruct(dst []byte, s *structpb.Struct) []byte {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(s.GetFields())) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, name), ':')
		dst = appendValue(dst, s.GetFields()[name])
	}
	return append(dst, '}')
}

func appendValue(dst []byte, v *structpb.Value) []byte {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return AppendString(dst, kind.StringValue)
	case *structpb.Value_NumberValue:
		return appendNumber(dst, kind.NumberValue)
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(dst, kind.BoolValue)
	case *structpb.Value_StructValue:
		return AppendStruct(dst, kind.StructValue)
	case *structpb.Value_ListValue:
		dst = append(dst, '[')
		for i, item := range kind.ListValue.GetValues() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, item)
		}
		return append(dst, ']')
	}
	return append(dst, "null"...)
}

// appendNumber writes the shortest text that reads back as the same number, as
// ECMA-262 (and RFC 8785) does: no exponent from 1e-6 up to 1e21. What JSON has
// no word for is null.
func appendNumber(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	abs := math.Abs(f)
	if abs == 0 || (abs >= 1e-6 && abs < 1e21) {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' { // e-09 is written e-9
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}
