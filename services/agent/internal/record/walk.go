package record

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// walk is one way through all pending records, in order of instances, conversations and turns.
type walk struct {
	// last is the place up to which the walk has come.
	last store.RecordKey
	// held are the conversations whose turns wait for an earlier one.
	held map[[2]string]struct{}
}

func (w *walk) hold(k store.RecordKey) {
	if w.held == nil {
		w.held = make(map[[2]string]struct{})
	}
	w.held[[2]string{k.Instance, k.ConversationID}] = struct{}{}
}

func (w *walk) isHeld(k store.RecordKey) bool {
	_, held := w.held[[2]string{k.Instance, k.ConversationID}]
	return held
}

// cut is how many of the records, from the first, go into one call: those of one instance, up to batchBytes, and at least one.
func (w *walk) cut(records []store.PendingRecord) int {
	size := 0
	for i := range records {
		size += len(records[i].Record)
		if i > 0 && (records[i].Key.Instance != records[0].Key.Instance || size > batchBytes) {
			return i
		}
	}
	return len(records)
}

func sameConversation(a, b store.RecordKey) bool {
	return a.Instance == b.Instance && a.ConversationID == b.ConversationID
}

// pending is a pending record that can be read.
type pending struct {
	store.PendingRecord
	turn *contactsv1.TurnRecord
}

func decode(r store.PendingRecord) (pending, error) {
	turn := &contactsv1.TurnRecord{}
	if err := proto.Unmarshal(r.Record, turn); err != nil {
		return pending{}, fmt.Errorf("decode record: %w", err)
	}
	return pending{PendingRecord: r, turn: turn}, nil
}
