// Package searchtext makes the texts that conversations are found by: without case and accents, one piece apart from the next.
package searchtext

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

// MaxBytes is how much of the text of a turn, or of the values of a conversation's metadata, can be found. A single one that is larger
// would hold up the store while it is taken apart.
const MaxBytes = 64 << 10

// MinIndexed is how many characters a query needs to be looked up among messages: the index is one of trigrams.
const MinIndexed = 3

// separator ends a piece. Fold lets none into a text, so that nothing is found across two pieces.
const separator = "\x1e"

// unkept are characters that stand for nothing in a text: stores cannot keep the one, the other separates.
var unkept = strings.NewReplacer("\x00", " ", separator, " ")

// Fold makes a text comparable: without case, accents and outer spaces. What is searched for is folded too, and then found by its bytes.
func Fold(text string) string { return fold.String(unkept.Replace(text)) }

// IsIndexed reports whether a folded query can be looked up among messages.
func IsIndexed(query string) bool { return utf8.RuneCountInString(query) >= MinIndexed }

// Head is what a conversation is found by itself.
func Head(id, identifier string) string {
	var p pieces
	p.add(id)
	p.add(identifier)
	return p.String()
}

// Turn is what was said in a turn, of whose serialized answer and record that much is read as can be.
func Turn(answer, record []byte) string {
	var said contactsv1.TurnRecord
	var answered agentv1.RunTurnResponse
	var p pieces
	if proto.Unmarshal(record, &said) == nil {
		p.add(said.GetUserText())
	}
	if proto.Unmarshal(answer, &answered) == nil {
		for _, m := range answered.GetMessages() {
			p.message(m)
		}
	}
	return p.String()
}

// Metadata is the values of a conversation's metadata, also those inside of objects and lists.
func Metadata(m *structpb.Struct) string {
	var p pieces
	p.object(m)
	return p.String()
}

// pieces are folded texts that are found each by itself.
type pieces struct{ strings.Builder }

func (p *pieces) add(text string) {
	if text == "" || p.Len() >= MaxBytes {
		return
	}
	folded := Fold(text)
	if room := MaxBytes - p.Len(); len(folded) > room {
		folded = strings.ToValidUTF8(folded[:room], "")
	}
	if folded == "" {
		return
	}
	if p.Len() > 0 {
		p.WriteString(separator)
	}
	p.WriteString(folded)
}

func (p *pieces) message(m *messagev1.Message) {
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Text:
		p.add(content.Text.GetText())
	case *messagev1.Message_Date:
		p.add(content.Date.GetText())
	case *messagev1.Message_Buttons:
		p.add(content.Buttons.GetText())
		p.options(content.Buttons.GetOptions())
	case *messagev1.Message_List:
		p.add(content.List.GetText())
		p.add(content.List.GetTitle())
		for _, section := range content.List.GetSections() {
			p.add(section.GetLabel())
			p.options(section.GetItems())
		}
	case *messagev1.Message_Media:
		p.add(content.Media.GetText())
		p.add(content.Media.GetFilename())
	}
}

func (p *pieces) options(options []*messagev1.Option) {
	for _, o := range options {
		p.add(o.GetLabel())
		p.add(o.GetDescription())
	}
}

func (p *pieces) object(m *structpb.Struct) {
	for _, v := range m.GetFields() {
		p.value(v)
	}
}

func (p *pieces) value(v *structpb.Value) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		p.add(kind.StringValue)
	case *structpb.Value_NumberValue:
		p.add(strconv.FormatFloat(kind.NumberValue, 'f', -1, 64))
	case *structpb.Value_BoolValue:
		p.add(strconv.FormatBool(kind.BoolValue))
	case *structpb.Value_StructValue:
		p.object(kind.StructValue)
	case *structpb.Value_ListValue:
		for _, item := range kind.ListValue.GetValues() {
			p.value(item)
		}
	}
}
