package record

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestTurnsAreRecordedInOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.runOnce(t)
		require.Empty(t, f.ledger.calls, "nothing pending, nothing asked")
		f.converse(t, "acme", "c1", 1, 3)
		f.converse(t, "acme", "c2", 1, 1)
		f.converse(t, "other", "c1", 1, 2)
		f.clock.Advance(time.Minute)
		require.Equal(t, map[string]float64{"recorded": 0, "postponed": 0, "refused": 0, "record_pending": 6, "oldest_record_seconds": 60}, f.counts(t))
		f.runOnce(t)
		require.Equal(t, map[string][]int64{"acme/c1": {1, 2, 3}, "acme/c2": {1}, "other/c1": {1, 2}}, f.ledger.kept)
		require.Equal(t, []int{4, 2}, f.ledger.calls, "one call an instance")
		require.Equal(t, map[string]float64{"recorded": 6, "postponed": 0, "refused": 0, "record_pending": 0, "oldest_record_seconds": 0}, f.counts(t))
		f.converse(t, "acme", "c1", 4, 4)
		f.runOnce(t)
		require.Equal(t, []int64{1, 2, 3, 4}, f.ledger.kept["acme/c1"])
	})
}

func TestCallsAreBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, batchSize+1)
		f.runOnce(t)
		require.Equal(t, []int{batchSize, 1}, f.ledger.calls)
		require.Zero(t, f.pending(t))

		big, err := proto.Marshal(&contactsv1.TurnRecord{UserText: strings.Repeat("x", batchBytes)})
		require.NoError(t, err)
		f.ledger.calls = nil
		f.commit(t, "acme", "c2", 1, big)
		f.converse(t, "acme", "c2", 2, 3)
		f.runOnce(t)
		require.Equal(t, []int{1, 2}, f.ledger.calls)
	})
}

func TestContactsAway(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Unauthenticated, codes.Unimplemented} {
		t.Run(code.String(), func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				f.converse(t, "acme", "c1", 1, 2)
				f.converse(t, "other", "c1", 1, 1)
				f.ledger.away = code
				for range 30 {
					require.Error(t, f.recorder.runOnce(t.Context()))
				}
				require.Len(t, f.ledger.calls, 30, "who is away is asked once a round")
				f.ledger.away = codes.OK
				f.runOnce(t)
				require.Equal(t, 3, f.ledger.total(), "a contacts that is away costs no turn")
			})
		})
	}
}

func TestAnswerOfContactsIsLost(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, 2)
		f.ledger.loseAnswer = true
		require.Error(t, f.recorder.runOnce(t.Context()))
		f.converse(t, "acme", "c1", 3, 3)
		f.runOnce(t)
		require.Equal(t, []int64{1, 2, 3}, f.ledger.kept["acme/c1"])
		require.Zero(t, f.pending(t))
	})
}

func TestRefusedTurnIsSetAside(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition} {
		t.Run(code.String(), func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) { badTurn(t, f, code, refusedTries) })
		})
	}
}

func TestFailingTurnIsSetAsideLater(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.Unknown, codes.ResourceExhausted} {
		t.Run(code.String(), func(t *testing.T) { eachEngine(t, func(t *testing.T, f *fixture) { badTurn(t, f, code, failedTries) }) })
	}
}

// badTurn has contacts not take the second of three turns of a conversation.
func badTurn(t *testing.T, f *fixture, code codes.Code, tries int) {
	t.Helper()
	f.converse(t, "acme", "c1", 1, 1)
	f.converse(t, "acme", "c2", 1, 3)
	f.converse(t, "acme", "c3", 1, 1)
	f.converse(t, "other", "c2", 1, 1)
	bad := turnID("acme", "c2", 2)
	f.ledger.bad[bad] = code
	f.runOnce(t)
	others := map[string][]int64{"acme/c1": {1}, "acme/c2": {1}, "acme/c3": {1}, "other/c2": {1}}
	require.Equal(t, others, f.ledger.kept, "others go on")
	require.Equal(t, 2, f.pending(t))

	calls := len(f.ledger.calls)
	f.runOnce(t)
	require.Len(t, f.ledger.calls, calls, "it is not tried again at once")
	f.converse(t, "acme", "c3", 2, 2)
	f.runOnce(t)
	require.Equal(t, []int64{1, 2}, f.ledger.kept["acme/c3"])

	for try := 2; try < tries; try++ {
		f.clock.Advance(maxRetry)
		f.runOnce(t)
		require.Equal(t, 2, f.pending(t), "try %d", try)
	}
	f.ledger.skipped[bad] = true
	f.clock.Advance(maxRetry)
	f.runOnce(t)
	f.runOnce(t)
	require.Zero(t, f.pending(t))
	require.Equal(t, []int64{1, 3}, f.ledger.kept["acme/c2"])
	counts := f.counts(t)
	require.EqualValues(t, 1, counts["refused"])
	require.EqualValues(t, tries-1, counts["postponed"])
	require.Contains(t, f.logs.String(), "level=ERROR")
	require.Contains(t, f.logs.String(), "conversation_id=c2")
	require.NotContains(t, f.logs.String(), "segredo")
}

func TestBadTurnThatIsMended(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, 3)
		f.ledger.bad[turnID("acme", "c1", 1)] = codes.InvalidArgument
		f.runOnce(t)
		require.Empty(t, f.ledger.kept)
		delete(f.ledger.bad, turnID("acme", "c1", 1))
		f.clock.Advance(minRetry - time.Microsecond)
		f.runOnce(t)
		require.Empty(t, f.ledger.kept)
		f.clock.Advance(time.Microsecond)
		f.runOnce(t)
		require.Equal(t, []int64{1, 2, 3}, f.ledger.kept["acme/c1"])
	})
}

func TestUnreadableRecordIsSetAside(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.commit(t, "acme", "c1", 1, []byte{0xff})
		f.converse(t, "acme", "c1", 2, 2)
		f.ledger.skipped[turnID("acme", "c1", 1)] = true
		f.runOnce(t)
		require.Equal(t, []int64{2}, f.ledger.kept["acme/c1"])
		require.EqualValues(t, 1, f.counts(t)["refused"])
	})
}

func TestManyHeldConversationsHideNobody(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for i := range batchSize {
			f.converse(t, "acme", conversation(i), 1, 1)
			f.ledger.bad[turnID("acme", conversation(i), 1)] = codes.InvalidArgument
		}
		f.runOnce(t)
		f.converse(t, "acme", "z", 1, 1)
		f.runOnce(t)
		require.Equal(t, []int64{1}, f.ledger.kept["acme/z"])
	})
}

func TestOneRecorderAtATime(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		second := f.newRecorder(t, f.store, "h2", nil)
		f.converse(t, "acme", "c1", 1, 1)
		f.runOnce(t)
		f.converse(t, "acme", "c1", 2, 2)
		require.ErrorIs(t, second.runOnce(t.Context()), errNotHolder)
		require.Equal(t, []int64{1}, f.ledger.kept["acme/c1"])
		// The first freezes for longer than its lease.
		f.clock.Advance(leaseTime)
		require.NoError(t, second.runOnce(t.Context()))
		require.Equal(t, []int64{1, 2}, f.ledger.kept["acme/c1"])
		f.converse(t, "acme", "c1", 3, 3)
		require.ErrorIs(t, f.recorder.runOnce(t.Context()), errNotHolder)
	})
}

// frozen has another process take over between the sending of turns and their deletion.
type frozen struct {
	Store
	thaw func()
}

func (s frozen) DeleteRecords(ctx context.Context, lease store.Lease, instance string, keys []store.RecordKey) error {
	s.thaw()
	return s.Store.DeleteRecords(ctx, lease, instance, keys)
}

func TestFrozenRecorderChangesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		second := f.newRecorder(t, f.store, "h2", nil)
		first := f.newRecorder(t, frozen{f.store, func() {
			f.clock.Advance(2 * leaseTime)
			f.converse(t, "acme", "c1", 2, 2)
			require.NoError(t, second.runOnce(t.Context()))
			f.converse(t, "acme", "c1", 3, 3)
		}}, "h3", nil)
		f.converse(t, "acme", "c1", 1, 1)
		require.ErrorIs(t, first.runOnce(t.Context()), store.ErrLeaseLost)
		require.Equal(t, 1, f.pending(t))
		require.NoError(t, second.runOnce(t.Context()))
		require.Equal(t, []int64{1, 2, 3}, f.ledger.kept["acme/c1"])
	})
}

// faultyStore fails every second call of a method, before or after it took effect.
type faultyStore struct {
	Store
	method string
	after  bool
	calls  int
}

var errFault = fmt.Errorf("%w: test", sqldb.ErrUnknownOutcome)

func (s *faultyStore) fail(method string, call func() error) error {
	if s.method != method {
		return call()
	}
	if s.calls++; s.calls%2 == 0 {
		return call()
	}
	if s.after {
		if err := call(); err != nil {
			return err
		}
	}
	return errFault
}

func (s *faultyStore) PendingRecords(ctx context.Context, after store.RecordKey, limit int) (r []store.PendingRecord, err error) {
	err = s.fail("PendingRecords", func() error {
		r, err = s.Store.PendingRecords(ctx, after, limit)
		return err
	})
	return r, err
}

func (s *faultyStore) Said(ctx context.Context, instance string, turnIDs []string) (said map[string]store.Said, err error) {
	err = s.fail("Said", func() error {
		said, err = s.Store.Said(ctx, instance, turnIDs)
		return err
	})
	return said, err
}

func (s *faultyStore) DeleteRecords(ctx context.Context, lease store.Lease, instance string, keys []store.RecordKey) error {
	return s.fail("DeleteRecords", func() error { return s.Store.DeleteRecords(ctx, lease, instance, keys) })
}

func (s *faultyStore) PostponeRecord(ctx context.Context, lease store.Lease, key store.RecordKey, retry time.Time) error {
	return s.fail("PostponeRecord", func() error { return s.Store.PostponeRecord(ctx, lease, key, retry) })
}

func (s *faultyStore) RefuseRecord(ctx context.Context, lease store.Lease, key store.RecordKey, code string, now time.Time) error {
	return s.fail("RefuseRecord", func() error { return s.Store.RefuseRecord(ctx, lease, key, code, now) })
}

func (s *faultyStore) TakeLease(ctx context.Context, name, holder string, now, until time.Time) (l store.Lease, held bool, err error) {
	err = s.fail("TakeLease", func() error {
		l, held, err = s.Store.TakeLease(ctx, name, holder, now, until)
		return err
	})
	return l, held, err
}

func TestStoreFaults(t *testing.T) {
	for _, method := range []string{"PendingRecords", "Said", "DeleteRecords", "PostponeRecord", "RefuseRecord", "TakeLease"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%v", method, after), func(t *testing.T) {
				eachEngine(t, func(t *testing.T, f *fixture) {
					recorder := f.newRecorder(t, &faultyStore{Store: f.store, method: method, after: after}, "h2", nil)
					f.converse(t, "acme", "c1", 1, 3)
					f.converse(t, "acme", "c2", 1, 3)
					bad := turnID("acme", "c1", 2)
					f.ledger.bad[bad], f.ledger.skipped[bad] = codes.InvalidArgument, true
					faults := 0
					for range 12 {
						err := recorder.runOnce(t.Context())
						if errors.Is(err, errFault) {
							faults++
						} else if err != nil {
							require.ErrorIs(t, err, store.ErrLeaseLost)
						}
						f.clock.Advance(maxRetry)
					}
					require.NotZero(t, faults)
					require.Zero(t, f.pending(t))
					require.Equal(t, map[string][]int64{"acme/c1": {1, 3}, "acme/c2": {1, 2, 3}}, f.ledger.kept)
				})
			})
		}
	}
}

// The end of a conversation that no turn tells of comes to contacts as a turn in which nobody says anything, after the others.
func TestEndsAreRecorded(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		plain, err := proto.Marshal(&agentv1.RunTurnResponse{AttendanceId: 7})
		require.NoError(t, err)
		for _, place := range [][2]string{{"acme", "c1"}, {"acme", "c2"}, {"other", "c1"}} {
			require.NoError(t, f.store.CommitTurn(t.Context(), &store.Turn{
				Lane: store.Lane{Instance: place[0], AgentID: "a1", EndpointID: "e1", Identifier: place[1]},
				ID:   turnID(place[0], place[1], 1), Source: "api",
				Conversation: store.Conversation{ID: place[1], AttendanceID: 7, FlowState: []byte{}},
				Answer:       plain, Record: []byte{}, Time: start,
			}))
			_, err := f.store.FinishSilent(t.Context(), place[0], []string{place[1]}, start, time.Hour)
			require.NoError(t, err)
		}
		sent := make(map[string][]*contactsv1.TurnRecord)
		f.recorder.Contacts = contactsFunc(func(r *contactsv1.RecordTurnsRequest) error {
			sent[r.GetInstance()] = append(sent[r.GetInstance()], r.GetTurns()...)
			return nil
		})
		f.runOnce(t)
		require.Zero(t, f.pending(t))
		require.Len(t, sent["acme"], 4)
		require.Len(t, sent["other"], 2)
		for i, id := range []string{"acme/c1/1", "end.c1", "acme/c2/1", "end.c2"} {
			require.Equal(t, id, sent["acme"][i].GetTurnId())
		}
		end := timestamppb.New(start.Add(time.Hour))
		for _, turn := range []*contactsv1.TurnRecord{sent["acme"][1], sent["other"][1]} {
			require.True(t, proto.Equal(&contactsv1.TurnRecord{
				TurnId: "end.c1", AttendanceId: 7, UserTime: end, AnswerTime: end, Finished: true,
			}, turn), "%v", turn)
		}
	})
}

type contactsFunc func(*contactsv1.RecordTurnsRequest) error

func (f contactsFunc) RecordTurns(
	_ context.Context, r *contactsv1.RecordTurnsRequest, _ ...grpc.CallOption,
) (*contactsv1.RecordTurnsResponse, error) {
	return &contactsv1.RecordTurnsResponse{}, f(r)
}
