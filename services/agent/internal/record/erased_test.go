package record

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// commitOf is commit for a conversation of another attendance than those of the others.
func (f *fixture) commitOf(t *testing.T, conversation string, number, attendance int64) {
	t.Helper()
	raw, err := proto.Marshal(&agentv1.RunTurnResponse{AttendanceId: attendance})
	require.NoError(t, err)
	require.NoError(t, f.store.CommitTurn(t.Context(), &store.Turn{
		Lane: store.Lane{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: conversation},
		ID:   turnID("acme", conversation, number), Source: "api",
		Conversation: store.Conversation{ID: conversation, AttendanceID: attendance, LastTurn: number - 1, FlowState: []byte{}},
		Answer:       raw, Record: []byte{}, Time: start,
	}))
}

// What contacts does not have any more is set aside at once, in the same call in which everything else is recorded.
func TestTurnsOfErasedAttendances(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.ledger.erased = []int64{8, 9}
		f.converse(t, "acme", "c1", 1, 2)
		f.commitOf(t, "c2", 1, 8)
		f.commitOf(t, "c2", 2, 8)
		f.commitOf(t, "c3", 1, 9)
		f.converse(t, "acme", "c4", 1, 1)
		f.runOnce(t)
		require.Equal(t, map[string][]int64{"acme/c1": {1, 2}, "acme/c4": {1}}, f.ledger.kept)
		require.Equal(t, []int{6}, f.ledger.calls)
		require.Zero(t, f.pending(t))
		require.Equal(t, map[string]float64{"recorded": 3, "postponed": 0, "refused": 3, "record_pending": 0, "oldest_record_seconds": 0}, f.counts(t))
		var refused int
		require.NoError(t, f.db.Reader().QueryRowContext(t.Context(),
			`SELECT count(*) FROM refused_record WHERE instance = 'acme' AND code = 'ATTENDANCE_NOT_FOUND'`).Scan(&refused))
		require.Equal(t, 3, refused)
		f.runOnce(t)
		require.Len(t, f.ledger.calls, 1)
	})
}

// Also when turns are sent one by one, because another one is bad.
func TestTurnOfAnErasedAttendanceBesideABadOne(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.ledger.erased = []int64{8}
		f.ledger.bad[turnID("acme", "c1", 1)] = codes.InvalidArgument
		f.converse(t, "acme", "c1", 1, 1)
		f.commitOf(t, "c2", 1, 8)
		f.converse(t, "acme", "c3", 1, 1)
		f.runOnce(t)
		require.Equal(t, map[string][]int64{"acme/c3": {1}}, f.ledger.kept)
		require.Equal(t, 1, f.pending(t), "the bad one is tried again")
	})
}
