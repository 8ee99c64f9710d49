package record

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func TestMemoryGivesEachRecordOnce(t *testing.T) {
	m := newMemory()
	mine, theirs := remembered{&contactsv1.TurnRecord{}, 1}, remembered{&contactsv1.TurnRecord{}, 2}
	m.put(turnKey{"acme", "m1"}, mine)
	m.put(turnKey{"other", "m1"}, theirs)
	require.Zero(t, m.take(turnKey{"acme", "m2"}))
	require.Same(t, mine.turn, m.take(turnKey{"acme", "m1"}).turn)
	require.Zero(t, m.take(turnKey{"acme", "m1"}))
	m.nextRound()
	require.Same(t, theirs.turn, m.take(turnKey{"other", "m1"}).turn, "it was put before the round")
	require.Zero(t, m.take(turnKey{"other", "m1"}))
}

func TestMemoryForgetsWhatARoundDidNotAskFor(t *testing.T) {
	m := newMemory()
	m.put(turnKey{"acme", "m1"}, remembered{&contactsv1.TurnRecord{}, 1})
	m.nextRound()
	m.put(turnKey{"acme", "m2"}, remembered{&contactsv1.TurnRecord{}, 1})
	m.nextRound()
	require.Zero(t, m.take(turnKey{"acme", "m1"}))
	require.NotZero(t, m.take(turnKey{"acme", "m2"}))
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range maxMemory + 1 {
		m.put(turnKey{"acme", strconv.Itoa(i)}, remembered{&contactsv1.TurnRecord{}, 1})
	}
	require.NotZero(t, m.take(turnKey{"acme", strconv.Itoa(maxMemory - 1)}))
	require.Zero(t, m.take(turnKey{"acme", strconv.Itoa(maxMemory)}))

	m = newMemory()
	m.put(turnKey{"acme", "m1"}, remembered{&contactsv1.TurnRecord{}, maxMemoryBytes})
	m.put(turnKey{"acme", "m2"}, remembered{&contactsv1.TurnRecord{}, 1})
	require.NotZero(t, m.take(turnKey{"acme", "m1"}))
	require.Zero(t, m.take(turnKey{"acme", "m2"}))
	m.nextRound()
	m.put(turnKey{"acme", "m2"}, remembered{&contactsv1.TurnRecord{}, maxMemoryBytes})
	require.NotZero(t, m.take(turnKey{"acme", "m2"}), "a round makes room")
}

// blind is a store whose turns cannot be read.
type blind struct{ Store }

var errBlind = errors.New("blind")

func (blind) Said(context.Context, string, []string) (map[string]store.Said, error) {
	return nil, errBlind
}

// What this process committed is given over; the rest is read.
func TestCommittedTurnsAreNotReadAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		recorder := f.newRecorder(t, blind{f.store}, "h2", nil)
		record := &contactsv1.TurnRecord{UserText: "oi"}
		given := &agentv1.RunTurnResponse{AttendanceId: 7, Finished: true, Messages: []*messagev1.Message{{Msgid: "m"}}}
		committed := f.commit(t, "acme", "c1", 1, []byte{})
		recorder.Committed(committed, record, given)
		require.NoError(t, recorder.runOnce(t.Context()))
		require.Equal(t, []int64{1}, f.ledger.kept["acme/c1"])
		require.True(t, proto.Equal(&contactsv1.TurnRecord{
			TurnId: "acme/c1/1", AttendanceId: 7, UserText: "oi", Answer: given.GetMessages(), Finished: true,
		}, record), "what is given over says what the store does")

		f.commit(t, "acme", "c1", 2, []byte{})
		require.ErrorIs(t, recorder.runOnce(t.Context()), errBlind, "what another process committed is read")
		recorder.Store = f.store
		require.NoError(t, recorder.runOnce(t.Context()))
		require.Equal(t, []int64{1, 2}, f.ledger.kept["acme/c1"])
	})
}

// What is remembered counts for the size of calls like what is read.
func TestCallsOfRememberedTurnsAreBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for n := range int64(2) {
			record := &contactsv1.TurnRecord{UserText: strings.Repeat("x", batchBytes)}
			raw, err := proto.Marshal(record)
			require.NoError(t, err)
			f.recorder.Committed(f.commit(t, "acme", "c1", n+1, raw), record, &agentv1.RunTurnResponse{})
		}
		f.runOnce(t)
		require.Equal(t, []int{1, 1}, f.ledger.calls)
	})
}
