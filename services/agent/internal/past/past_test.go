package past_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/past"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// turns is a conversation of turns t1, t2 …
type turns struct {
	said    []store.Said
	from    int64
	failure error
}

func (s *turns) SaidInChain(_ context.Context, instance, conversationID string, from int64, upTo string) ([]store.Said, error) {
	if instance != "acme" || conversationID != "c1" || upTo != "t3" {
		return nil, errors.New("no such conversation")
	}
	s.from = from
	return s.said[max(from, 1)-1:], s.failure
}

func said(t *testing.T, person string, messages ...*messagev1.Message) store.Said {
	record, err := proto.Marshal(&contactsv1.TurnRecord{UserText: person})
	require.NoError(t, err)
	answer, err := proto.Marshal(&agentv1.RunTurnResponse{Messages: messages})
	require.NoError(t, err)
	return store.Said{Answer: answer, Record: record}
}

func text(words string) *messagev1.Message {
	return &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}}
}

func TestRead(t *testing.T) {
	menu := &messagev1.Message{Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
		Text: "Qual?", Options: []*messagev1.Option{{Label: "A"}, {Label: "B"}},
	}}}
	s := &turns{said: []store.Said{said(t, "oi", text("Olá."), menu), said(t, "2"), said(t, "", text("Ainda aí?"))}}
	open := &store.Conversation{ID: "c1", LastTurn: 3, LastTurnID: "t3"}
	got, err := past.Reader{Store: s}.Read(t.Context(), "acme", open, 20)
	require.NoError(t, err)
	require.Equal(t, []flow.Exchange{{Person: "oi", Agent: "Olá.\n\nQual?\n1. A\n2. B"}, {Person: "2"}, {Agent: "Ainda aí?"}}, got)

	got, err = past.Reader{Store: s}.Read(t.Context(), "acme", open, 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.from)
	require.Len(t, got, 2)

	got, err = past.Reader{Store: s}.Read(t.Context(), "acme", &store.Conversation{ID: "c1"}, 2)
	require.NoError(t, err)
	require.Empty(t, got, "nothing is said yet")

	_, err = past.Reader{Store: s}.Read(t.Context(), "other", open, 2)
	require.Error(t, err)
	s.said[2].Answer = []byte{0xff}
	_, err = past.Reader{Store: s}.Read(t.Context(), "acme", open, 2)
	require.ErrorContains(t, err, "decode stored answer")
	s.said[2].Record = []byte{0xff}
	_, err = past.Reader{Store: s}.Read(t.Context(), "acme", open, 2)
	require.ErrorContains(t, err, "decode record of turn")
}
