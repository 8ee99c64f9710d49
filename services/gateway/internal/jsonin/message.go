package jsonin

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	reasonUnknown = "is not a known field"
	reasonTwice   = "is given twice"
	reasonNull    = "must not be null"
	reasonObject  = "must be an object"
	reasonList    = "must be a list"
)

// open reads the { or [ that comes next.
func (d *decoder) open() error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if d.json.StackDepth() > MaxDepth {
		return errTooDeep
	}
	return nil
}

// message reads an object into msg. The caller has seen that an object comes next, or nothing readable at all.
func (d *decoder) message(msg protoreflect.Message, top bool) error {
	if err := d.open(); err != nil {
		return err
	}
	fields := tableOf(msg.Descriptor())
	if top {
		d.named = make([]protoreflect.FieldDescriptor, 0, len(fields))
	}
	var few [32]bool // enough for every request there is
	seen := few[:]
	if n := msg.Descriptor().Fields().Len(); n > len(few) {
		seen = make([]bool, n)
	}
	outer := len(d.path)
	for d.json.PeekKind() != '}' {
		quoted, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		name, good := unquote(quoted)
		field := fields[string(name)]
		if field != nil && top && d.hidden != nil && d.hidden(field) {
			field = nil
		}
		d.enter(name, good)
		switch {
		case field == nil:
			if d.refuseUnknown {
				d.fault(reasonUnknown)
			}
			err = d.skip()
		case seen[field.Index()]:
			d.fault(reasonTwice)
			err = d.skip()
		default:
			seen[field.Index()] = true
			if top {
				d.named = append(d.named, field)
			}
			err = d.field(msg, field)
		}
		if err != nil {
			return err
		}
		d.path = d.path[:outer]
	}
	_, err := d.json.ReadToken()
	return err
}

// enter makes the field of that name the one being read.
func (d *decoder) enter(name []byte, good bool) {
	if !good || len(name) > maxEcho {
		name = echo(name)
	}
	if len(d.path) > 0 {
		d.path = append(d.path, '.')
	}
	d.path = append(d.path, name...)
}

// echo makes of a name that the caller made up one that may be repeated to it.
func echo(name []byte) []byte {
	var shown []byte
	for len(name) > 0 && len(shown) < maxEcho {
		r, size := utf8.DecodeRune(name)
		shown = utf8.AppendRune(shown, r)
		name = name[size:]
	}
	return shown
}

// element makes an element of the list or map that is being read the one being read.
func (d *decoder) element(subscript string) {
	d.path = append(d.path, '[')
	d.path = append(d.path, subscript...)
	d.path = append(d.path, ']')
}

// keySubscript is how a path shows the key of a map.
func keySubscript(key string) string {
	return strconv.Quote(string(echo([]byte(key))))
}

func (d *decoder) field(msg protoreflect.Message, field protoreflect.FieldDescriptor) error {
	if d.json.PeekKind() == 'n' {
		return d.skip()
	}
	if oneof := field.ContainingOneof(); oneof != nil && msg.WhichOneof(oneof) != nil {
		d.fault("must not be given together with " + msg.WhichOneof(oneof).JSONName())
		return d.skip()
	}
	switch {
	case field.IsList():
		return d.list(msg, field)
	case field.IsMap():
		return d.object(msg, field)
	}
	if field.Message() == nil { // as value does, without a function made for each field
		value, good, err := d.scalar(field)
		if good {
			msg.Set(field, value)
		}
		return err
	}
	value, good, err := d.value(field, msg.NewField)
	if good {
		msg.Set(field, value)
	}
	return err
}

// value reads one value of the field's kind. Its result is good only when it is to be set; else a fault was noted.
func (d *decoder) value(field protoreflect.FieldDescriptor, fresh func(protoreflect.FieldDescriptor) protoreflect.Value) (protoreflect.Value, bool, error) {
	if field.Message() == nil {
		return d.scalar(field)
	}
	if read := wellKnown(field.Message().FullName()); read != nil {
		return read(d, field, fresh)
	}
	if d.json.PeekKind() != '{' {
		return d.mismatch(reasonObject)
	}
	made := fresh(field)
	return made, true, d.message(made.Message(), false)
}

func (d *decoder) list(msg protoreflect.Message, field protoreflect.FieldDescriptor) error {
	if kind := d.json.PeekKind(); kind != '[' {
		_, _, err := d.mismatch(reasonList)
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	list := msg.Mutable(field).List()
	fresh := func(protoreflect.FieldDescriptor) protoreflect.Value { return list.NewElement() }
	outer := len(d.path)
	for i := 0; d.json.PeekKind() != ']'; i++ {
		d.element(subscript(i))
		value, good, err := d.member(field, fresh)
		if err != nil {
			return err
		}
		if !good {
			value = list.NewElement() // those behind it keep their places
		}
		list.Append(value)
		d.path = d.path[:outer]
	}
	_, err := d.json.ReadToken()
	return err
}

// object reads a map field.
func (d *decoder) object(msg protoreflect.Message, field protoreflect.FieldDescriptor) error {
	if kind := d.json.PeekKind(); kind != '{' {
		_, _, err := d.mismatch(reasonObject)
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	entries := msg.Mutable(field).Map()
	fresh := func(protoreflect.FieldDescriptor) protoreflect.Value { return entries.NewValue() }
	outer := len(d.path)
	for d.json.PeekKind() != '}' {
		quoted, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		text, good := unquote(quoted)
		d.element(keySubscript(string(text)))
		key, reason := protoreflect.Value{}, reasonUTF8
		if good {
			key, reason = parseText(field.MapKey(), string(text))
		}
		switch {
		case reason != "":
			d.fault(reason)
			err = d.skip()
		case entries.Has(key.MapKey()):
			d.fault(reasonTwice)
			err = d.skip()
		default:
			var value protoreflect.Value
			value, good, err = d.member(field.MapValue(), fresh)
			if good && err == nil {
				entries.Set(key.MapKey(), value)
			}
		}
		if err != nil {
			return err
		}
		d.path = d.path[:outer]
	}
	_, err := d.json.ReadToken()
	return err
}

// member reads an element of a list or a value of a map, which null cannot be unless the field can hold it.
func (d *decoder) member(field protoreflect.FieldDescriptor, fresh func(protoreflect.FieldDescriptor) protoreflect.Value) (protoreflect.Value, bool, error) {
	if d.json.PeekKind() == 'n' && !holdsNull(field) {
		return d.mismatch(reasonNull)
	}
	return d.value(field, fresh)
}

// mismatch notes the fault and passes over the value.
func (d *decoder) mismatch(reason string) (protoreflect.Value, bool, error) {
	d.fault(reason)
	return protoreflect.Value{}, false, d.skip()
}

// skip passes over the next value, which must be JSON and within the depth all the same.
func (d *decoder) skip() error {
	kind := d.json.PeekKind()
	if kind != '{' && kind != '[' {
		_, err := d.json.ReadValue()
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	end := jsontext.Kind(']')
	if kind == '{' {
		end = '}'
	}
	for d.json.PeekKind() != end {
		if kind == '{' {
			if _, err := d.json.ReadValue(); err != nil {
				return err
			}
		}
		if err := d.skip(); err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}
