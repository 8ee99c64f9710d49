package chat

import (
	"errors"
	"sort"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// Event is a part of an answer, with the place behind it.
type Event struct {
	at Place
	// One of these is set.
	text    string
	message *messagev1.Message
	done    *agentv1.ChatDone
}

// At is the place behind the event.
func (e *Event) At() Place { return e.at }

// Done is the whole answer; nil when the event is not the last one.
func (e *Event) Done() *agentv1.ChatDone { return e.done }

// Proto is the event in the form of the contract.
func (e *Event) Proto() *agentv1.ChatEvent {
	event := &agentv1.ChatEvent{Id: e.at.String()}
	switch {
	case e.done != nil:
		event.Event = &agentv1.ChatEvent_Done{Done: e.done}
	case e.message != nil:
		event.Event = &agentv1.ChatEvent_Message{Message: e.message}
	default:
		event.Event = &agentv1.ChatEvent_Token{Token: &agentv1.ChatToken{Text: e.text}}
	}
	return event
}

// script is the events of an answer. The zero value is not one: see newScript.
type script struct {
	events   []Event
	end      Place
	messages []*messagev1.Message
	// said is the text of the message that is being made, without what separates it from the one before.
	said strings.Builder
	// spoken says that an earlier message has text, and streamed that a message came in pieces.
	spoken, streamed bool
}

func newScript() *script { return &script{end: Beginning()} }

// errMismatch says that a message is not what its pieces said.
var errMismatch = errors.New("a message is not what its pieces said")

// add adds text to the message that is being made.
func (s *script) add(piece string) {
	if piece == "" {
		return
	}
	text := piece
	if s.spoken && s.said.Len() == 0 {
		text = separator + piece
	}
	s.said.WriteString(piece)
	s.end = s.end.after(text)
	s.events = append(s.events, Event{at: s.end, text: text})
}

// close ends the message that is being made.
func (s *script) close(m *messagev1.Message) error {
	rest, ok := strings.CutPrefix(Text(m), s.said.String())
	if !ok {
		return errMismatch
	}
	s.add(rest)
	s.spoken = s.spoken || s.said.Len() > 0
	s.said.Reset()
	s.messages = append(s.messages, m)
	s.end = s.end.after(messageMark)
	s.events = append(s.events, Event{at: s.end, message: m})
	return nil
}

// finish ends the answer.
func (s *script) finish(done *agentv1.ChatDone) {
	s.end = s.end.after(doneMark)
	s.events = append(s.events, Event{at: s.end, done: done})
}

// partial is what there is of the answer, unfinished text as the last message.
func (s *script) partial(made *timestamppb.Timestamp) []*messagev1.Message {
	messages := s.messages[:len(s.messages):len(s.messages)]
	if s.said.Len() > 0 {
		messages = append(messages, &messagev1.Message{
			Origin: messagev1.Origin_ORIGIN_BOT, CreateTime: made,
			Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: s.said.String()}},
		})
	}
	return messages
}

// pieces are the lengths of the texts, when they cannot be told from the messages.
func (s *script) pieces() []uint32 {
	if !s.streamed {
		return nil
	}
	var lengths []uint32
	for i := range s.events {
		if e := &s.events[i]; e.message == nil && e.done == nil {
			lengths = append(lengths, uint32(len(e.text)))
		}
	}
	return lengths
}

// replay makes the script of an answer that is stored: the same that it had when it was made.
func replay(id string, stored *agentv1.RunTurnResponse) *script {
	s := newScript()
	pieces := stored.GetPieces()
	for _, m := range stored.GetMessages() {
		text := Text(m)
		for text != "" && len(pieces) > 0 {
			length := int(pieces[0])
			if s.spoken && s.said.Len() == 0 {
				length -= len(separator)
			}
			if length <= 0 || length > len(text) || length < len(text) && !utf8.RuneStart(text[length]) {
				break // of another version's rendering; the text is the same or it is found out
			}
			s.add(text[:length])
			text, pieces = text[length:], pieces[1:]
		}
		_ = s.close(m) // what was added is the message's own text
	}
	if stored.GetFailure() == "" {
		s.finish(&agentv1.ChatDone{Id: id, Messages: stored.GetMessages(), Interrupted: stored.GetInterrupted()})
	}
	return s
}

// found says what a script knows of a place.
type found int

const (
	foundHere     found = iota // the script has it, and the events after it
	foundBeyond                // the script does not go so far
	foundDiverged              // the script has another beginning
)

// after gives the events behind a place. A place in the middle of a text is one too: the same text can come in other pieces.
func (s *script) after(from Place) ([]Event, found) {
	if from.size > s.end.size {
		return nil, foundBeyond
	}
	next := sort.Search(len(s.events), func(i int) bool { return s.events[i].at.size > from.size })
	before := Beginning()
	if next > 0 {
		before = s.events[next-1].at
	}
	if before == from {
		return s.events[next:], foundHere
	}
	if before.size == from.size {
		return nil, foundDiverged
	}
	cut := &s.events[next]
	known := int(from.size - before.size)
	if known >= len(cut.text) || !utf8.RuneStart(cut.text[known]) || before.after(cut.text[:known]) != from {
		return nil, foundDiverged
	}
	return append([]Event{{at: cut.at, text: cut.text[known:]}}, s.events[next+1:]...), foundHere
}
