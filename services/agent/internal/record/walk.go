package record

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
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

// cut is how many of the turns, from the first, go into one call: those of one instance, up to batchBytes, and at least one.
func cut(turns []pending) int {
	size := 0
	for i := range turns {
		size += turns[i].size
		if i > 0 && (turns[i].Key.Instance != turns[0].Key.Instance || size > batchBytes) {
			return i
		}
	}
	return len(turns)
}

func sameConversation(a, b store.RecordKey) bool {
	return a.Instance == b.Instance && a.ConversationID == b.ConversationID
}

// pending is a pending record with what it says; no turn when that cannot be read.
type pending struct {
	store.PendingRecord
	remembered
}

// complete puts into the record of a turn what its answer says.
func complete(turn *contactsv1.TurnRecord, id string, answer *agentv1.RunTurnResponse) {
	turn.TurnId, turn.AttendanceId = id, answer.GetAttendanceId()
	turn.Answer, turn.Finished = answer.GetMessages(), answer.GetFinished()
}

// decode puts the record of a turn together; none when its parts cannot be read.
func decode(id string, said store.Said) remembered {
	turn, answer := &contactsv1.TurnRecord{}, &agentv1.RunTurnResponse{}
	if proto.Unmarshal(said.Record, turn) != nil || proto.Unmarshal(said.Answer, answer) != nil {
		return remembered{}
	}
	complete(turn, id, answer)
	return remembered{turn, len(said.Answer) + len(said.Record)}
}

// endPrefix begins the id under which contacts gets the end of a conversation that no turn tells of. Messages have no such ids.
const endPrefix = "end."

// ending is the record of such an end: a turn in which nobody said anything.
func ending(conversation string, end store.End) remembered {
	at := timestamppb.New(end.Time)
	turn := &contactsv1.TurnRecord{
		TurnId: endPrefix + conversation, AttendanceId: end.AttendanceID, UserTime: at, AnswerTime: at, Finished: true,
	}
	return remembered{turn, proto.Size(turn)}
}
