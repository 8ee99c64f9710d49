package handoff_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/handoff"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// faultyStore fails the first call of a method: before it does anything, or after it did all.
type faultyStore struct {
	handoff.Store
	method string
	after  bool
	err    error
	failed int
}

func (s *faultyStore) fail(method string, call func() error) error {
	if s.method != method || s.failed > 0 {
		return call()
	}
	s.failed++
	if s.after {
		_ = call() // what it fails with is lost too
	}
	return s.err
}

func (s *faultyStore) Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error {
	return s.fail("Write", func() error { return s.Store.Write(ctx, fn) })
}

func (s *faultyStore) Attended(ctx context.Context, r sqldb.Reader, instance string, number int64) (a *store.Attended, err error) {
	err = s.fail("Attended", func() error {
		a, err = s.Store.Attended(ctx, r, instance, number)
		return err
	})
	return a, err
}

func (s *faultyStore) AttendedByID(ctx context.Context, r sqldb.Reader, instance, id string) (a *store.Attended, err error) {
	err = s.fail("AttendedByID", func() error {
		a, err = s.Store.AttendedByID(ctx, r, instance, id)
		return err
	})
	return a, err
}

func (s *faultyStore) HandBack(ctx context.Context, tx sqldb.Tx, a *store.Attended, state []byte, now time.Time) error {
	return s.fail("HandBack", func() error { return s.Store.HandBack(ctx, tx, a, state, now) })
}

func (s *faultyStore) Finish(ctx context.Context, tx sqldb.Tx, a *store.Attended, now time.Time) error {
	return s.fail("Finish", func() error { return s.Store.Finish(ctx, tx, a, now) })
}

func (s *faultyStore) Answer(ctx context.Context, instance, id string) (answer []byte, err error) {
	err = s.fail("Answer", func() error {
		answer, err = s.Store.Answer(ctx, instance, id)
		return err
	})
	return answer, err
}

func (s *faultyStore) CommitReply(ctx context.Context, r *store.Reply) error {
	return s.fail("CommitReply", func() error { return s.Store.CommitReply(ctx, r) })
}

// fixture has one conversation, c1 of attendance 7, which people have.
type fixture struct {
	db               *sqldb.DB
	store            *store.Store
	committed, ended int
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		f := &fixture{db: db, store: store.New(db)}
		state, err := proto.Marshal(&agentv1.FlowState{
			Handoff: &agentv1.OpenHandoff{Squad: "geral"}, Contact: map[string]string{"name": "Ana"}, Menus: []*agentv1.SentMenu{{Msgid: "m"}},
		})
		require.NoError(t, err)
		require.NoError(t, f.store.CommitTurn(t.Context(), &store.Turn{
			Lane: store.Lane{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: "ana"}, ID: "m1", Source: "api_channel",
			Conversation: store.Conversation{ID: "c1", ContactID: "p1", AgentVersion: 2, AttendanceID: 7, FlowState: state},
			HandedOver:   true, Answer: []byte{}, Record: []byte{}, Messages: 1, Time: start,
		}))
		test(t, f)
	})
}

func (f *fixture) handoffs(s handoff.Store) *handoff.Handoffs {
	return handoff.New(handoff.Deps{
		Store: s, Clock: clock.NewManual(start),
		Committed: func(*store.Turn, *contactsv1.TurnRecord, *agentv1.RunTurnResponse) { f.committed++ },
		Ended:     func() { f.ended++ },
	})
}

func (f *fixture) count(t *testing.T, query string) (n int) {
	t.Helper()
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

func requireUnavailable(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, codes.Unavailable, rpcerr.Code(err), "%v", err)
	require.Equal(t, "UNAVAILABLE", rpcerr.Reason(err))
	_, ok := rpcerr.RetryAfter(err)
	require.True(t, ok)
}

// Whatever call of the store fails, before or after it took effect: the caller is told to come again, and then gets what the first call
// would have given, which took effect once.
func TestStoreFaults(t *testing.T) {
	key := func() *idempotency.Key { return &idempotency.Key{Instance: "acme", Scope: "s", Key: "k"} }
	words := &agentv1.RunReplyRequest{
		Instance: "acme", InteractionId: "c1", MessageId: "r1", Text: "olá", AcceptTime: timestamppb.New(start.Add(time.Second)),
	}
	calls := map[string]struct {
		methods []string
		call    func(ctx context.Context, h *handoff.Handoffs) (proto.Message, error)
		check   func(t *testing.T, f *fixture, got proto.Message)
	}{
		"reply": {
			[]string{"Answer", "AttendedByID", "CommitReply"},
			func(ctx context.Context, h *handoff.Handoffs) (proto.Message, error) { return h.Reply(ctx, words) },
			func(t *testing.T, f *fixture, got proto.Message) {
				turn := got.(*agentv1.RunTurnResponse)
				require.Equal(t, "olá", turn.GetMessages()[0].GetText().GetText())
				require.Equal(t, int64(7), turn.GetAttendanceId())
				require.Equal(t, 2, f.count(t, `SELECT count(*) FROM turn`))
				require.Equal(t, 2, f.count(t, `SELECT count(*) FROM pending_record`))
				require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE messages = 2 AND last_turn = 2 AND epoch = 1`))
			},
		},
		"finish": {
			[]string{"Write", "Attended", "Finish"},
			func(ctx context.Context, h *handoff.Handoffs) (proto.Message, error) {
				return h.Finish(ctx, "acme", 7, key())
			},
			func(t *testing.T, f *fixture, got proto.Message) {
				require.Equal(t, agentv1.Attendance_FINISHED, got.(*agentv1.Attendance).GetState())
				require.Equal(t, 2, f.count(t, `SELECT count(*) FROM pending_record`))
				require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE state = 'FINISHED' AND epoch = 2`))
				require.NotZero(t, f.ended)
			},
		},
		"hand back": {
			[]string{"Write", "Attended", "HandBack"},
			func(ctx context.Context, h *handoff.Handoffs) (proto.Message, error) {
				return h.HandBack(ctx, "acme", 7, key())
			},
			func(t *testing.T, f *fixture, got proto.Message) {
				require.Equal(t, agentv1.Attendance_BOT, got.(*agentv1.Attendance).GetState())
				require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE state = 'OPEN' AND epoch = 2`))
				a, err := f.store.Attended(t.Context(), f.store.Reader(), "acme", 7)
				require.NoError(t, err)
				state := &agentv1.FlowState{}
				require.NoError(t, proto.Unmarshal(a.FlowState, state))
				require.True(t, proto.Equal(&agentv1.FlowState{Contact: map[string]string{"name": "Ana"}}, state))
			},
		},
		"look up": {
			[]string{"Attended"},
			func(ctx context.Context, h *handoff.Handoffs) (proto.Message, error) {
				a, err := h.Lookup(ctx, "acme", 7)
				if err == nil && a.ID != "c1" {
					err = fmt.Errorf("found %s", a.ID)
				}
				return nil, err
			},
			func(*testing.T, *fixture, proto.Message) {},
		},
	}
	for name, c := range calls {
		for _, method := range c.methods {
			for _, fault := range []struct {
				name  string
				after bool
				err   error
			}{
				{"refused", false, sqldb.ErrUnavailable}, {"done", true, sqldb.ErrUnknownOutcome},
			} {
				t.Run(name+" "+method+" "+fault.name, func(t *testing.T) {
					eachEngine(t, func(t *testing.T, f *fixture) {
						faulty := &faultyStore{Store: f.store, method: method, after: fault.after, err: fmt.Errorf("%w: test", fault.err)}
						h := f.handoffs(faulty)
						_, err := c.call(t.Context(), h)
						requireUnavailable(t, err)
						got, err := c.call(t.Context(), h)
						require.NoError(t, err)
						require.Equal(t, 1, faulty.failed)
						c.check(t, f, got)
						again, err := c.call(t.Context(), h)
						require.NoError(t, err)
						require.True(t, proto.Equal(got, again))
						c.check(t, f, again)
					})
				})
			}
		}
	}
}

// A write that overtakes is no failure; one that always does ends the waiting.
func TestOvertaken(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		words := &agentv1.RunReplyRequest{Instance: "acme", InteractionId: "c1", MessageId: "r1", Text: "olá", AcceptTime: timestamppb.New(start)}
		for _, method := range []string{"CommitReply", "HandBack", "Finish"} {
			once := &faultyStore{Store: f.store, method: method, err: store.ErrConflict}
			var err error
			switch method {
			case "CommitReply":
				_, err = f.handoffs(overtaken{f.store}).Reply(t.Context(), words)
				requireUnavailable(t, err)
				require.Zero(t, f.committed)
				_, err = f.handoffs(once).Reply(t.Context(), words)
				require.Equal(t, 1, f.committed)
			case "HandBack":
				_, err = f.handoffs(overtaken{f.store}).HandBack(t.Context(), "acme", 7, nil)
				requireUnavailable(t, err)
				_, err = f.handoffs(once).HandBack(t.Context(), "acme", 7, nil)
			case "Finish":
				_, err = f.handoffs(overtaken{f.store}).Finish(t.Context(), "acme", 7, nil)
				requireUnavailable(t, err)
				_, err = f.handoffs(once).Finish(t.Context(), "acme", 7, nil)
			}
			require.NoError(t, err)
			require.Equal(t, 1, once.failed)
		}
	})
}

type overtaken struct{ *store.Store }

func (overtaken) CommitReply(context.Context, *store.Reply) error { return store.ErrConflict }

func (overtaken) HandBack(context.Context, sqldb.Tx, *store.Attended, []byte, time.Time) error {
	return store.ErrConflict
}

func (overtaken) Finish(context.Context, sqldb.Tx, *store.Attended, time.Time) error {
	return store.ErrConflict
}
