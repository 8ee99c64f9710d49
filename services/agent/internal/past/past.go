// Package past tells a model what was said before.
package past

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// Store is the part of the store that the past is read from.
type Store interface {
	SaidInChain(ctx context.Context, instance, conversationID string, from int64, upTo string) ([]store.Said, error)
}

// Reader reads the past of conversations. It is safe for concurrent use.
type Reader struct{ Store Store }

// Read reads the last turns of a conversation, at most as many as asked for, oldest first. The conversation is as a turn of it finds it.
func (r Reader) Read(ctx context.Context, instance string, c *store.Conversation, turns int) ([]flow.Exchange, error) {
	if c.LastTurnID == "" || turns <= 0 {
		return nil, nil
	}
	said, err := r.Store.SaidInChain(ctx, instance, c.ID, c.LastTurn-int64(turns)+1, c.LastTurnID)
	if err != nil {
		return nil, err
	}
	exchanges := make([]flow.Exchange, len(said))
	for i := range said {
		if exchanges[i], err = exchange(&said[i]); err != nil {
			return nil, err
		}
	}
	return exchanges, nil
}

func exchange(said *store.Said) (flow.Exchange, error) {
	record, answer := &contactsv1.TurnRecord{}, &agentv1.RunTurnResponse{}
	if err := proto.Unmarshal(said.Record, record); err != nil {
		return flow.Exchange{}, fmt.Errorf("decode record of turn: %w", err)
	}
	if err := proto.Unmarshal(said.Answer, answer); err != nil {
		return flow.Exchange{}, fmt.Errorf("decode stored answer: %w", err)
	}
	texts := make([]string, 0, len(answer.GetMessages()))
	for _, m := range answer.GetMessages() {
		texts = append(texts, chat.Text(m))
	}
	return flow.Exchange{Person: record.GetUserText(), Agent: strings.Join(texts, "\n\n")}, nil
}
