package jsonin

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// subscript is how a path shows the place in a list.
func subscript(i int) string { return strconv.Itoa(i) }

// SetText sets a singular field, or adds to a list of scalars, from the text of a query parameter: scalars, enums by name, times,
// durations and field masks. The reason is empty when it could.
func SetText(msg protoreflect.Message, field protoreflect.FieldDescriptor, text string) (reason string) {
	if !utf8.ValidString(text) {
		return reasonUTF8
	}
	if field.Message() != nil {
		if _, ok := textual[field.Message().FullName()]; !ok || field.IsList() || field.IsMap() {
			return "cannot be given as a query parameter"
		}
		quoted, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			return reasonUTF8
		}
		made := msg.NewField(field)
		if reason := parseQuoted(made.Message(), quoted); reason != "" {
			return reason
		}
		msg.Set(field, made)
		return ""
	}
	value, reason := parseText(field, text)
	switch {
	case reason != "":
		return reason
	case field.IsList():
		msg.Mutable(field).List().Append(value)
	default:
		msg.Set(field, value)
	}
	return ""
}
