// Package jsonout writes a protobuf message as JSON in one stable form: fields in the order of the contract, zero values
// included, no white space. protojson puts random spaces into its output on purpose, and cannot leave out a field that is only
// sometimes to be seen.
package jsonout

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// Writer writes messages by the protobuf JSON mapping (https://protobuf.dev/programming-guides/json/) with lowerCamelCase names
// and enums by name. Scalars, lists and maps are written even when empty; messages and optional fields only when set.
type Writer struct {
	// OmitEmpty are the scalar fields that are left out when empty, by full name.
	OmitEmpty map[protoreflect.FullName]bool
}

// Append appends msg and returns the longer slice. It fails only on a value that has no JSON: a time out of range, for one.
func (w *Writer) Append(dst []byte, msg protoreflect.Message) ([]byte, error) {
	if msg.Descriptor().ParentFile().Package() == "google.protobuf" {
		return appendWellKnown(dst, msg)
	}
	dst = append(dst, '{')
	first := true
	fields := msg.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !msg.Has(field) && (field.HasPresence() || w.OmitEmpty[field.FullName()]) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(messagejson.AppendString(dst, field.JSONName()), ':')
		var err error
		switch value := msg.Get(field); {
		case field.IsList():
			dst, err = w.appendList(dst, field, value.List())
		case field.IsMap():
			dst, err = w.appendMap(dst, field, value.Map())
		default:
			dst, err = w.appendValue(dst, field, value)
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", field.FullName(), err)
		}
	}
	return append(dst, '}'), nil
}

func (w *Writer) appendList(dst []byte, field protoreflect.FieldDescriptor, list protoreflect.List) ([]byte, error) {
	dst = append(dst, '[')
	for i := range list.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = w.appendValue(dst, field, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// appendMap writes a map in the order of its keys' texts.
func (w *Writer) appendMap(dst []byte, field protoreflect.FieldDescriptor, entries protoreflect.Map) ([]byte, error) {
	keys := make([]protoreflect.MapKey, 0, entries.Len())
	entries.Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, key)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int {
		switch at, bt := a.String(), b.String(); {
		case at < bt:
			return -1
		case at > bt:
			return 1
		}
		return 0
	})
	dst = append(dst, '{')
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(messagejson.AppendString(dst, key.String()), ':')
		var err error
		if dst, err = w.appendValue(dst, field.MapValue(), entries.Get(key)); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (w *Writer) appendValue(dst []byte, field protoreflect.FieldDescriptor, value protoreflect.Value) ([]byte, error) {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return w.Append(dst, value.Message())
	case protoreflect.StringKind:
		return messagejson.AppendString(dst, value.String()), nil
	case protoreflect.BytesKind:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), value.Bytes()), '"'), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, value.Bool()), nil
	case protoreflect.EnumKind:
		if known := field.Enum().Values().ByNumber(value.Enum()); known != nil {
			return messagejson.AppendString(dst, string(known.Name())), nil
		}
		return strconv.AppendInt(dst, int64(value.Enum()), 10), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(dst, value.Int(), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(dst, value.Uint(), 10), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return append(strconv.AppendInt(append(dst, '"'), value.Int(), 10), '"'), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return append(strconv.AppendUint(append(dst, '"'), value.Uint(), 10), '"'), nil
	case protoreflect.FloatKind:
		return appendFloat(dst, value.Float(), 32), nil
	}
	return appendFloat(dst, value.Float(), 64), nil
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

// appendWellKnown leaves the messages of google.protobuf, whose JSON is not an object of their fields, to protojson and takes
// its random spaces out again.
func appendWellKnown(dst []byte, msg protoreflect.Message) ([]byte, error) {
	written, err := protojson.Marshal(msg.Interface())
	if err != nil {
		return nil, err
	}
	compact := jsontext.Value(written)
	if err := compact.Compact(); err != nil {
		return nil, err
	}
	return append(dst, compact...), nil
}
