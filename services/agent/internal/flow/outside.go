package flow

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// MaxEvents is how many events an answer may report that is made outside of the flow.
const MaxEvents = 200

// maxName is how many characters a name in the context may have.
const maxName = 64

// Answer is an answer that is made outside of the flow, in steps. It keeps the limits of one that a flow makes; see Stopped. It is used by
// one goroutine.
type Answer struct {
	r    *run
	seen bool
}

// Answer begins an answer to a turn.
func (p *Program) Answer(ctx context.Context, t Turn, sink Sink) *Answer {
	return &Answer{r: p.begin(ctx, &t, sink)}
}

// Silent reports whether people have the conversation, and nothing may be answered.
func (a *Answer) Silent() bool { return a.r.handoff != nil && !a.r.result.HandedOver }

// Context and Contact are what the conversation keeps. They may not be changed in place.
func (a *Answer) Context() map[string]*structpb.Value { return a.r.scope.Context() }

// Contact is what is known about the person.
func (a *Answer) Contact() map[string]string { return a.r.scope.Contact() }

// Seen reports whether somebody saw a part of the answer.
func (a *Answer) Seen() bool { return a.seen && a.r.sink != Discard }

// Stopped reports whether the answer reached a limit. It is cut short then, and the person was told that they were not understood.
func (a *Answer) Stopped() bool { return a.r.result.Stopped != "" }

// Text adds a piece, of whole characters, to the text message that is being made; last ends the message.
func (a *Answer) Text(piece string, last bool) {
	a.r.write(piece)
	if last {
		a.r.closeText()
	}
	a.look()
}

// Message sends a message. Its origin, time and identifiers are given here. The error says that it is none that may be sent.
func (a *Answer) Message(given *messagev1.Message) error {
	m := &messagev1.Message{Content: proto.CloneOf(given).GetContent()}
	clean(m.ProtoReflect())
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Buttons:
		m.Msgid = a.r.turn.NewID()
		number("index", content.Buttons.GetOptions())
	case *messagev1.Message_List:
		m.Msgid = a.r.turn.NewID()
		for i, section := range content.List.GetSections() {
			prefix := "index"
			if section.Label != nil {
				prefix = "section" + strconv.Itoa(i) + "-index"
			}
			number(prefix, section.GetItems())
		}
	case *messagev1.Message_Media:
		if !ValidLink(content.Media.GetLink()) {
			return &Fault{Reason: "bad_link"}
		}
	}
	if err := protovalidate.Validate(m); err != nil {
		return fmt.Errorf("check message: %w", err)
	}
	a.r.output += proto.Size(m)
	a.r.send(m)
	a.look()
	return nil
}

// clean leaves out of all texts of a message what a text may not have.
func clean(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Kind() == protoreflect.StringKind:
			m.Set(field, protoreflect.ValueOfString(strings.Map(printable, value.String())))
		case field.IsList():
			for i := range value.List().Len() {
				clean(value.List().Get(i).Message())
			}
		case field.Message() != nil:
			clean(value.Message())
		}
		return true
	})
}

func number(prefix string, options []*messagev1.Option) {
	for i, option := range options {
		option.Value = prefix + strconv.Itoa(i)
	}
}

func (a *Answer) look() {
	a.seen = a.seen || len(a.r.result.Messages) > 0 || a.r.writing != nil
}

// Report reports an event; the details are the answer's from then on. It reports false when there are too many.
func (a *Answer) Report(name string, details map[string]string) bool {
	if len(a.r.result.Events) == MaxEvents {
		return false
	}
	for key, value := range details {
		details[key] = strings.Map(printable, value)
		a.r.output += len(value)
	}
	a.r.result.Events = append(a.r.result.Events, Event{Name: name, Details: details})
	if a.r.output > MaxOutput {
		a.r.stop("the answer is too large")
	}
	return true
}

// Keep keeps a value for the conversation; nothing removes what was there. It reports false when the name is none, or there is no room.
func (a *Answer) Keep(name string, value *structpb.Value) bool {
	if n := utf8.RuneCountInString(name); n < 1 || n > maxName {
		return false
	}
	return a.r.keepValue(name, value)
}

// Learn keeps an attribute of the person; an empty value removes it. What would go beyond the limits is ignored.
func (a *Answer) Learn(name, value string) {
	a.r.keep(place{contact: true, name: name}, strings.Map(printable, value))
}

// HandOver gives the conversation to people.
func (a *Answer) HandOver(to *agentv1.Handoff) {
	a.r.ask, a.r.handoff, a.r.result.HandedOver = nil, handoff("", to), true
}

// End ends the conversation.
func (a *Answer) End() { a.r.result.Finished = true }

// Result is the whole answer.
func (a *Answer) Result() *Result {
	a.r.closeText()
	return a.r.finish()
}
