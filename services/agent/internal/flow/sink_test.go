package flow_test

import (
	"strings"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// told is a sink that remembers what it was told.
type told struct {
	pieces   []string // all
	open     strings.Builder
	messages []*messagev1.Message
	// broken is the first message that was not what its pieces said.
	broken *messagev1.Message
}

func (s *told) Text(piece string) {
	s.pieces = append(s.pieces, piece)
	s.open.WriteString(piece)
}

func (s *told) Message(m *messagev1.Message) {
	if s.open.Len() > 0 && s.open.String() != m.GetText().GetText() && s.broken == nil {
		s.broken = m
	}
	s.open.Reset()
	s.messages = append(s.messages, m)
}

func (s *told) Restart() { *s = told{} }
