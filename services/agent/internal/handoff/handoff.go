// Package handoff is what people do with the conversations that a flow gave them: give them back, end them, and speak in the agent's
// place.
package handoff

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// maxAttempts is how often a change is tried that a turn of the same conversation overtook. Turns come one at a time, so that even a
// second attempt is rare.
const maxAttempts = 5

// Store is the part of the store that is needed.
type Store interface {
	Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error
	Reader() sqldb.Reader
	Attended(ctx context.Context, r sqldb.Reader, instance string, attendance int64) (*store.Attended, error)
	AttendedByID(ctx context.Context, r sqldb.Reader, instance, conversation string) (*store.Attended, error)
	HandBack(ctx context.Context, tx sqldb.Tx, a *store.Attended, flowState []byte, now time.Time) error
	Finish(ctx context.Context, tx sqldb.Tx, a *store.Attended, now time.Time) error
	Answer(ctx context.Context, instance, turnID string) ([]byte, error)
	CommitReply(ctx context.Context, r *store.Reply) error
}

// Deps are what Handoffs work with. All are required.
type Deps struct {
	Store Store
	Clock clock.Clock
	// Committed is called after each reply that was committed, with what its answer and record were made of, and Ended after each
	// conversation that was ended: there is something to tell contacts. They must not block.
	Committed func(t *store.Turn, record *contactsv1.TurnRecord, answer *agentv1.RunTurnResponse)
	Ended     func()
}

// Handoffs are the conversations that people have. It is safe for concurrent use. Its errors may be sent as they are.
type Handoffs struct{ Deps }

// New returns handoffs.
func New(deps Deps) *Handoffs { return &Handoffs{Deps: deps} }

// HandBack gives an attendance back to the agent. The key makes a repetition known: with the same request it gets the first answer
// again; nil is none. Errors: ATTENDANCE_NOT_FOUND, ATTENDANCE_NOT_HANDED_OVER, ATTENDANCE_FINISHED, IDEMPOTENCY_KEY_REUSED.
func (h *Handoffs) HandBack(ctx context.Context, instance string, number int64, key *idempotency.Key) (*agentv1.Attendance, error) {
	return h.change(ctx, instance, number, key, func(ctx context.Context, tx sqldb.Tx, a *store.Attended, now time.Time) (*agentv1.Attendance, error) {
		state, err := flowState(a)
		if err != nil {
			return nil, err
		}
		if state.GetHandoff() == nil {
			return nil, notHandedOver(number)
		}
		// What was asked and offered before is far away by now: a "2" would pick what nobody sees any more.
		state.Handoff, state.Ask, state.Menus = nil, nil, nil
		raw, err := encode(state)
		if err != nil {
			return nil, err
		}
		return &agentv1.Attendance{Id: number, InteractionId: a.ID, State: agentv1.Attendance_BOT}, h.Store.HandBack(ctx, tx, a, raw, now)
	})
}

// Finish ends an attendance, whoever has it. The key is as with HandBack. Errors: ATTENDANCE_NOT_FOUND, ATTENDANCE_FINISHED,
// IDEMPOTENCY_KEY_REUSED.
func (h *Handoffs) Finish(ctx context.Context, instance string, number int64, key *idempotency.Key) (*agentv1.Attendance, error) {
	finished, err := h.change(ctx, instance, number, key,
		func(ctx context.Context, tx sqldb.Tx, a *store.Attended, now time.Time) (*agentv1.Attendance, error) {
			return &agentv1.Attendance{
				Id: number, InteractionId: a.ID, State: agentv1.Attendance_FINISHED, FinishTime: timestamppb.New(now),
			}, h.Store.Finish(ctx, tx, a, now)
		})
	h.Ended()
	return finished, err
}

// change changes an open conversation in one transaction with the record of the key.
func (h *Handoffs) change(
	ctx context.Context, instance string, number int64, key *idempotency.Key,
	how func(ctx context.Context, tx sqldb.Tx, a *store.Attended, now time.Time) (*agentv1.Attendance, error),
) (*agentv1.Attendance, error) {
	now := h.Clock.Now().Truncate(time.Microsecond) // as exact as it is stored
	var response []byte
	once := func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		response, _, err = idempotency.Run(ctx, tx, h.Clock, key, func() ([]byte, error) {
			a, err := h.Store.Attended(ctx, tx, instance, number)
			if errors.Is(err, store.ErrNotFound) {
				return nil, notFound(number)
			}
			if err != nil {
				return nil, err
			}
			if !a.Open() {
				return nil, finished(number)
			}
			changed, err := how(ctx, tx, a, now)
			if err != nil {
				return nil, err
			}
			return encode(changed)
		})
		return err
	}
	if err := h.again(ctx, func(ctx context.Context) error { return h.Store.Write(ctx, once) }); err != nil {
		return nil, err
	}
	changed := &agentv1.Attendance{}
	if err := proto.Unmarshal(response, changed); err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("decode attendance: %w", err))
	}
	return changed, nil
}

// again tries until nothing overtakes, and gives errors that may be sent.
func (h *Handoffs) again(ctx context.Context, try func(ctx context.Context) error) error {
	for range maxAttempts {
		if err := try(ctx); !errors.Is(err, store.ErrConflict) {
			return rpcerr.FromStore(err)
		}
	}
	return rpcerr.Unavailable(fmt.Errorf("change conversation: %d attempts: %w", maxAttempts, store.ErrConflict))
}

func flowState(a *store.Attended) (*agentv1.FlowState, error) {
	state := &agentv1.FlowState{}
	if err := proto.Unmarshal(a.FlowState, state); err != nil {
		return nil, fmt.Errorf("decode flow state: %w", err)
	}
	return state, nil
}

// encode never gives nil, which the store would take for NULL.
func encode(m proto.Message) ([]byte, error) {
	raw, err := proto.MarshalOptions{}.MarshalAppend([]byte{}, m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return raw, nil
}

func notFound(number int64) error {
	return rpcerr.New(codes.NotFound, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "no such attendance", "id", text(number))
}

func finished(number int64) error {
	return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_FINISHED, "the attendance is finished", "id", text(number))
}

func notHandedOver(number int64) error {
	return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_HANDED_OVER,
		"the bot has the attendance, no people", "id", text(number))
}

func text(number int64) string { return strconv.FormatInt(number, 10) }
