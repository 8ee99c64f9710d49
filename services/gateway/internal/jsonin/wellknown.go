package jsonin

import (
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	valueName     = "google.protobuf.Value"
	structName    = "google.protobuf.Struct"
	listValueName = "google.protobuf.ListValue"
)

// textual are the messages that stand in JSON as a string, and what that string must be.
var textual = map[protoreflect.FullName]string{
	"google.protobuf.Timestamp": "must be a time such as \"2024-01-15T10:30:00Z\" (RFC 3339)",
	"google.protobuf.Duration":  "must be a duration in seconds such as \"30s\"",
	"google.protobuf.FieldMask": "must be names of fields, separated by commas",
}

type reader func(*decoder, protoreflect.FieldDescriptor, func(protoreflect.FieldDescriptor) protoreflect.Value) (protoreflect.Value, bool, error)

// wellKnown finds the reader of a message whose JSON is not an object of its fields; nil for all others.
func wellKnown(name protoreflect.FullName) reader {
	if _, ok := textual[name]; ok {
		return (*decoder).textual
	}
	switch name {
	case valueName, structName, listValueName:
		return (*decoder).dynamic
	}
	return nil
}

// holdsNull reports whether null is a value of the field's type.
func holdsNull(field protoreflect.FieldDescriptor) bool {
	return field.Message() != nil && field.Message().FullName() == valueName
}

func (d *decoder) textual(field protoreflect.FieldDescriptor, fresh func(protoreflect.FieldDescriptor) protoreflect.Value) (protoreflect.Value, bool, error) {
	if d.json.PeekKind() != '"' {
		return d.mismatch(textual[field.Message().FullName()])
	}
	quoted, err := d.json.ReadValue()
	if err != nil {
		return protoreflect.Value{}, false, err
	}
	made := fresh(field)
	if reason := parseQuoted(made.Message(), quoted); reason != "" {
		d.fault(reason)
		return protoreflect.Value{}, false, nil
	}
	return made, true, nil
}

// parseQuoted reads a JSON string into a textual message.
func parseQuoted(msg protoreflect.Message, quoted []byte) (reason string) {
	if err := protojson.Unmarshal(quoted, msg.Interface()); err != nil {
		return textual[msg.Descriptor().FullName()]
	}
	return ""
}

// dynamic reads any JSON into a google.protobuf.Value, an object into a Struct, a list into a ListValue.
func (d *decoder) dynamic(field protoreflect.FieldDescriptor, _ func(protoreflect.FieldDescriptor) protoreflect.Value) (protoreflect.Value, bool, error) {
	kind := d.json.PeekKind()
	switch name := field.Message().FullName(); {
	case name == structName && kind != '{':
		return d.mismatch(reasonObject)
	case name == listValueName && kind != '[':
		return d.mismatch(reasonList)
	}
	before := len(d.faults)
	value, err := d.any()
	if err != nil || len(d.faults) > before {
		return protoreflect.Value{}, false, err
	}
	switch field.Message().FullName() {
	case structName:
		return protoreflect.ValueOfMessage(value.GetStructValue().ProtoReflect()), true, nil
	case listValueName:
		return protoreflect.ValueOfMessage(value.GetListValue().ProtoReflect()), true, nil
	}
	return protoreflect.ValueOfMessage(value.ProtoReflect()), true, nil
}

// any reads the next value, whatever it is.
func (d *decoder) any() (*structpb.Value, error) {
	switch d.json.PeekKind() {
	case '{':
		return d.anyObject()
	case '[':
		return d.anyList()
	case '"':
		quoted, err := d.json.ReadValue()
		if err != nil {
			return nil, err
		}
		return structpb.NewStringValue(d.text(quoted)), nil
	case '0':
		number, err := d.json.ReadValue()
		if err != nil {
			return nil, err
		}
		f, reason := parseFloat(string(number), 64)
		if reason != "" {
			d.fault(reason)
		}
		return structpb.NewNumberValue(f), nil
	}
	token, err := d.json.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 't', 'f':
		return structpb.NewBoolValue(token.Bool()), nil
	}
	return structpb.NewNullValue(), nil
}

// free reads a body that is a google.protobuf.Struct itself: names and values of its own.
func (d *decoder) free(into *structpb.Struct) error {
	read, err := d.anyObject()
	if err != nil {
		return err
	}
	into.Fields = read.GetStructValue().GetFields()
	return nil
}

// text gives the text of a JSON string, with a fault when it cannot be kept.
func (d *decoder) text(quoted jsontext.Value) string {
	text, good := unquote(quoted)
	switch {
	case !good:
		d.fault(reasonUTF8)
	case strings.IndexByte(string(text), 0) >= 0:
		d.fault(reasonNUL)
	}
	return string(text)
}

func (d *decoder) anyObject() (*structpb.Value, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	fields := make(map[string]*structpb.Value)
	outer := len(d.path)
	for d.json.PeekKind() != '}' {
		quoted, err := d.json.ReadValue()
		if err != nil {
			return nil, err
		}
		name, good := unquote(quoted)
		d.enter(name, good)
		key := d.text(quoted)
		if _, twice := fields[key]; twice {
			d.fault(reasonTwice)
		}
		value, err := d.any()
		if err != nil {
			return nil, err
		}
		fields[key] = value
		d.path = d.path[:outer]
	}
	_, err := d.json.ReadToken()
	return structpb.NewStructValue(&structpb.Struct{Fields: fields}), err
}

func (d *decoder) anyList() (*structpb.Value, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	list := &structpb.ListValue{}
	outer := len(d.path)
	for i := 0; d.json.PeekKind() != ']'; i++ {
		d.element(subscript(i))
		value, err := d.any()
		if err != nil {
			return nil, err
		}
		list.Values = append(list.Values, value)
		d.path = d.path[:outer]
	}
	_, err := d.json.ReadToken()
	return structpb.NewListValue(list), err
}
