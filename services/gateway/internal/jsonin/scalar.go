package jsonin

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	reasonString  = "must be a string"
	reasonUTF8    = "must be valid UTF-8"
	reasonNUL     = "must not contain U+0000"
	reasonBool    = "must be true or false"
	reasonInteger = "must be an integer"
	reasonNumber  = "must be a number"
	reasonBase64  = "must be base64"
)

// unquote gives the text of a JSON string; false when its bytes or its escapes are not Unicode. The result may be a part of
// quoted.
func unquote(quoted jsontext.Value) ([]byte, bool) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, utf8.Valid(inner)
	}
	text, err := jsontext.AppendUnquote(nil, []byte(quoted))
	return text, err == nil
}

// scalar reads the next value as one that is no message.
func (d *decoder) scalar(field protoreflect.FieldDescriptor) (protoreflect.Value, bool, error) {
	var value protoreflect.Value
	var reason string
	switch kind := d.json.PeekKind(); {
	case kind == '"' && field.Kind() != protoreflect.BoolKind:
		quoted, err := d.json.ReadValue()
		if err != nil {
			return value, false, err
		}
		if text, good := unquote(quoted); good {
			value, reason = parseText(field, string(text))
		} else {
			reason = reasonUTF8
		}
	case kind == '0' && numeric(field.Kind()):
		number, err := d.json.ReadValue()
		if err != nil {
			return value, false, err
		}
		value, reason = parseText(field, string(number))
	case (kind == 't' || kind == 'f') && field.Kind() == protoreflect.BoolKind:
		token, err := d.json.ReadToken()
		if err != nil {
			return value, false, err
		}
		value = protoreflect.ValueOfBool(token.Bool())
	default:
		return d.mismatch(expected(field))
	}
	if reason != "" {
		d.fault(reason)
		return value, false, nil
	}
	return value, true, nil
}

func numeric(kind protoreflect.Kind) bool {
	switch kind {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.BoolKind, protoreflect.EnumKind,
		protoreflect.MessageKind, protoreflect.GroupKind:
		return false
	}
	return true
}

// expected says what a value of the field must be.
func expected(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.StringKind:
		return reasonString
	case protoreflect.BytesKind:
		return reasonBase64
	case protoreflect.BoolKind:
		return reasonBool
	case protoreflect.EnumKind:
		return expectedEnum(field.Enum())
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return reasonNumber
	}
	return reasonInteger
}

func expectedEnum(enum protoreflect.EnumDescriptor) string {
	var names []string
	for i := range enum.Values().Len() {
		if value := enum.Values().Get(i); value.Number() != 0 {
			names = append(names, string(value.Name()))
		}
	}
	return "must be one of " + strings.Join(names, ", ")
}

// parseText makes of a text, be it a JSON string, the digits of a JSON number or a query parameter, a value of the field. The
// reason is empty when it can.
func parseText(field protoreflect.FieldDescriptor, text string) (value protoreflect.Value, reason string) {
	switch field.Kind() {
	case protoreflect.StringKind:
		if strings.IndexByte(text, 0) >= 0 {
			return value, reasonNUL
		}
		return protoreflect.ValueOfString(text), ""
	case protoreflect.BytesKind:
		return parseBytes(text)
	case protoreflect.BoolKind:
		if text == "true" || text == "false" {
			return protoreflect.ValueOfBool(text == "true"), ""
		}
	case protoreflect.EnumKind:
		if known := field.Enum().Values().ByName(protoreflect.Name(text)); known != nil {
			return protoreflect.ValueOfEnum(known.Number()), ""
		}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, reason := parseInt(text, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(n)), reason
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, reason := parseInt(text, math.MinInt64, math.MaxInt64)
		return protoreflect.ValueOfInt64(n), reason
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, reason := parseInt(text, 0, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(n)), reason
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return protoreflect.ValueOfUint64(n), ""
		}
		n, reason := parseInt(text, 0, math.MaxInt64)
		return protoreflect.ValueOfUint64(uint64(n)), reason
	case protoreflect.FloatKind:
		f, reason := parseFloat(text, 32)
		return protoreflect.ValueOfFloat32(float32(f)), reason
	case protoreflect.DoubleKind:
		f, reason := parseFloat(text, 64)
		return protoreflect.ValueOfFloat64(f), reason
	}
	return value, expected(field)
}

// largestExact is the largest integer up to which every integer is a float64.
const largestExact = 1 << 53

// parseInt reads an integer, which may be spelled as a number with an empty fraction (1.0) or an exponent (1e3).
func parseInt(text string, lowest, highest int64) (int64, string) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] == '+' {
		f, reason := parseFloat(text, 64)
		if reason != "" || f != math.Trunc(f) {
			return 0, reasonInteger
		}
		if math.Abs(f) > largestExact {
			return 0, between(lowest, highest)
		}
		n = int64(f)
	}
	if n < lowest || n > highest {
		return 0, between(lowest, highest)
	}
	return n, ""
}

func between(lowest, highest int64) string {
	return reasonInteger + " from " + strconv.FormatInt(lowest, 10) + " to " + strconv.FormatInt(highest, 10)
}

// parseFloat reads a number in JSON's grammar. NaN and the infinities are not numbers here.
func parseFloat(text string, bits int) (float64, string) {
	if value := jsontext.Value(text); value.Kind() != '0' || !value.IsValid() || strings.TrimSpace(text) != text {
		return 0, reasonNumber
	}
	f, err := strconv.ParseFloat(text, bits)
	if err != nil {
		return 0, reasonNumber + " within range"
	}
	return f, ""
}

// parseBytes reads base64, standard or for URLs, padded or not.
func parseBytes(text string) (protoreflect.Value, string) {
	encoding := base64.StdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}
	decoded, err := encoding.WithPadding(base64.NoPadding).DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return protoreflect.Value{}, reasonBase64
	}
	return protoreflect.ValueOfBytes(decoded), ""
}
