// Package jsonin reads a JSON body into a protobuf message and tells everything that is wrong with it at once, in the JSON names
// that the caller wrote. protojson stops at the first fault and describes it in a text that is not stable; an API that names
// every bad field cannot be built on it.
//
// It reads the protobuf JSON mapping (https://protobuf.dev/programming-guides/json/) with these differences: a field has one
// name, its JSON name; an enum is given by name only; null means unset, for google.protobuf.Value too; U+0000 is refused in
// every text, because stores cannot keep it; what is nested deeper than MaxDepth is refused. Messages must be of generated
// types. google.protobuf.Any is not read.
package jsonin

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// MaxDepth is how many objects and lists may stand inside one another, the body itself included.
	MaxDepth = 32
	// maxFaults bounds the answer to a body that is nothing but faults.
	maxFaults = 100
	// maxEcho bounds, in bytes, how much of a name that the caller made up is repeated to it.
	maxEcho = 64
)

// Fault is one thing that is wrong with one field.
type Fault struct {
	// Name is the path of the field in the body: "text", "filters.limit", `scopes[0]`, `details["a"]`.
	Name string
	// Reason says what the value must be. It never repeats the value.
	Reason string
}

// Options say how a body is read.
type Options struct {
	// RefuseUnknown makes a fault of each field that the message does not have; else they are ignored.
	RefuseUnknown bool
	// Hidden fields of the top message are treated as if the message did not have them: they come from elsewhere, such as the
	// path.
	Hidden func(protoreflect.FieldDescriptor) bool
}

// Result is what reading a body came to.
type Result struct {
	// Malformed says why the body cannot be read as one JSON object; empty when it can. Then Faults and Named mean nothing.
	Malformed string
	// Faults are the bad fields in the order of the body, at most 100.
	Faults []Fault
	// Named are the top fields that the body names, null included, in the order of the body.
	Named []protoreflect.FieldDescriptor
}

// OK reports that there is nothing wrong.
func (r *Result) OK() bool { return r.Malformed == "" && len(r.Faults) == 0 }

// Decode reads body into msg, which must be mutable. Good fields are set even when others are bad. It keeps no part of body. An
// empty body, or one of white space alone, is malformed.
func Decode(body []byte, msg protoreflect.Message, opts Options) Result {
	d := decoders.Get().(*decoder)
	defer d.release()
	d.input = *bytes.NewBuffer(body)
	d.json.Reset(&d.input, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	d.refuseUnknown, d.hidden = opts.RefuseUnknown, opts.Hidden

	if err := d.document(msg); err != nil {
		return Result{Malformed: explain(err)}
	}
	return Result{Faults: d.faults, Named: d.named}
}

// decoder is the state of reading one body.
type decoder struct {
	json          jsontext.Decoder
	input         bytes.Buffer
	refuseUnknown bool
	hidden        func(protoreflect.FieldDescriptor) bool
	path          []byte // of the field that is being read
	faults        []Fault
	named         []protoreflect.FieldDescriptor
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// release gives the decoder back without what belongs to the body or to the result.
func (d *decoder) release() {
	d.input = bytes.Buffer{}
	d.json.Reset(&d.input)
	d.hidden, d.path, d.faults, d.named = nil, d.path[:0], nil, nil
	decoders.Put(d)
}

var (
	errNotObject = errors.New("must be a JSON object")
	errTrailing  = errors.New("has something after the JSON object")
	errTooDeep   = errors.New("is nested deeper than " + strconv.Itoa(MaxDepth) + " levels")
)

func (d *decoder) document(msg protoreflect.Message) error {
	kind := d.json.PeekKind()
	if kind != '{' && kind != 0 {
		return errNotObject
	}
	if made, ok := msg.Interface().(*structpb.Struct); ok {
		if err := d.free(made); err != nil {
			return err
		}
	} else if err := d.message(msg, true); err != nil {
		return err
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// explain puts into words why a body is malformed, without repeating any of it.
func explain(err error) string {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, errNotObject), errors.Is(err, errTrailing), errors.Is(err, errTooDeep):
		return err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "is not valid JSON: it ends too early"
	case errors.As(err, &syntactic):
		return "is not valid JSON near byte " + strconv.FormatInt(syntactic.ByteOffset, 10)
	}
	return "is not valid JSON"
}

// fault notes what is wrong with the field that is being read.
func (d *decoder) fault(reason string) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, Fault{Name: string(d.path), Reason: reason})
	}
}
