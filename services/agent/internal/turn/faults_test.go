package turn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// faultyStore fails one call of a method: before it does anything, or after it did all.
type faultyStore struct {
	turn.Store
	method string
	after  bool
	err    error
	failed int
}

var errLost = fmt.Errorf("%w: test", sqldb.ErrUnknownOutcome)

func (s *faultyStore) fail(method string, call func() error) error {
	if s.method != method || s.failed > 0 {
		return call()
	}
	s.failed++
	if s.after {
		if err := call(); err != nil {
			return err
		}
	}
	return s.err
}

func (s *faultyStore) Position(ctx context.Context, lane store.Lane, turnID string) (p *store.Position, err error) {
	err = s.fail("Position", func() error {
		p, err = s.Store.Position(ctx, lane, turnID)
		return err
	})
	return p, err
}

func (s *faultyStore) CommitTurn(ctx context.Context, t *store.Turn) error {
	return s.fail("CommitTurn", func() error { return s.Store.CommitTurn(ctx, t) })
}

func (s *faultyStore) FinishIdle(ctx context.Context, instance string, c *store.Conversation, end time.Time) error {
	return s.fail("FinishIdle", func() error { return s.Store.FinishIdle(ctx, instance, c, end) })
}

// Whatever call of the store fails, before or after it took effect: the caller is told to come again, and then gets the answer of a
// turn that ran once.
func TestStoreFaults(t *testing.T) {
	for _, method := range []string{"Position", "FinishIdle", "CommitTurn"} {
		for _, c := range []struct {
			name  string
			after bool
			err   error
		}{
			{"refused", false, sqldb.ErrUnavailable},
			{"lost", false, sqldb.ErrUnknownOutcome},
			{"done", true, sqldb.ErrUnknownOutcome},
			{"done and unavailable", true, sqldb.ErrUnavailable},
		} {
			t.Run(method+" "+c.name, func(t *testing.T) {
				eachEngine(t, func(t *testing.T, f *fixture) {
					f.run(t, message("m1", "oi"))
					m := message("m2", "João")
					m.AcceptTime = timestamppb.New(start.Add(inactivity)) // so that the conversation is over
					deps := f.deps
					faulty := &faultyStore{Store: f.store, method: method, after: c.after, err: fmt.Errorf("%w: test", c.err)}
					deps.Store = faulty
					runner := turn.NewRunner(deps)

					_, err := runner.Run(t.Context(), m, engine.Discard)
					requireReason(t, err, codes.Unavailable, "UNAVAILABLE")
					_, ok := rpcerr.RetryAfter(err)
					require.True(t, ok)
					answer, err := runner.Run(t.Context(), m, engine.Discard)
					require.NoError(t, err)
					require.Equal(t, 1, faulty.failed)
					require.Equal(t, "interaction-2", answer.GetInteractionId())
					again, err := runner.Run(t.Context(), m, engine.Discard)
					require.NoError(t, err)
					requireEqual(t, answer, again)

					require.Equal(t, 2, f.count(t, `SELECT count(*) FROM turn`))
					require.Equal(t, 2, f.count(t, `SELECT count(*) FROM conversation`))
					require.Equal(t, 3, f.count(t, `SELECT count(*) FROM pending_record`), "two turns, and the end of the first conversation")
					require.Equal(t, 4, f.count(t, `SELECT sum(messages) FROM conversation`))
					require.Equal(t, 2, f.contacts.opened())
				})
			})
		}
	}
}

// A crash between the opening of the attendance and the commit: the repetition gets the same attendance.
func TestOpeningIsRepeatedWithTheSameIDs(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		deps := f.deps
		deps.Store = &faultyStore{Store: f.store, method: "CommitTurn", err: sqldb.ErrUnavailable}
		_, err := turn.NewRunner(deps).Run(t.Context(), message("m1", "oi"), engine.Discard)
		require.Equal(t, codes.Unavailable, rpcerr.Code(err))
		answer := f.run(t, message("m1", "oi"))
		require.Equal(t, "interaction-1", answer.GetInteractionId())
		require.Len(t, f.contacts.calls, 2)
		requireEqual(t, f.contacts.calls[0], f.contacts.calls[1])
	})
}

// A store that is overtaken every time ends in UNAVAILABLE, not in an endless loop.
func TestTurnThatIsAlwaysOvertaken(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		deps := f.deps
		deps.Store = overtaken{f.store}
		_, err := turn.NewRunner(deps).Run(t.Context(), message("m1", "oi"), engine.Discard)
		requireReason(t, err, codes.Unavailable, "UNAVAILABLE")
	})
}

type overtaken struct{ turn.Store }

func (overtaken) CommitTurn(context.Context, *store.Turn) error { return store.ErrConflict }

// A definition that does not load opens no attendance.
func TestProgramThatDoesNotLoad(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		deps := f.deps
		deps.Programs = noPrograms{}
		_, err := turn.NewRunner(deps).Run(t.Context(), message("m1", "oi"), engine.Discard)
		requireReason(t, err, codes.Internal, "INTERNAL")
		require.Zero(t, f.contacts.opened())
	})
}

type noPrograms struct{}

func (noPrograms) Get(context.Context, string, string, int32) (*flow.Program, error) {
	return nil, fmt.Errorf("compile definition: %w", store.ErrNotFound)
}

func TestCallerThatGaveUp(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := f.runner.Run(ctx, message("m1", "oi"), engine.Discard)
		require.Equal(t, codes.Canceled, rpcerr.Code(err))
		require.Equal(t, 0, f.count(t, `SELECT count(*) FROM turn`))
		var none *agentv1.RunTurnResponse
		answer, _ := f.runner.Run(ctx, message("m1", "oi"), engine.Discard)
		require.Equal(t, none, answer)
	})
}
