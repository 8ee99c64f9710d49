package turn

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Stream is a sink whose answer is shown while it is made. What was shown cannot be taken back, so an answer that breaks off is kept as
// far as it came, and marked.
type Stream interface {
	engine.Sink
	// Enough is closed when nobody wants more of the answer.
	Enough() <-chan struct{}
	// Partial is what there is of the answer, unfinished text as the last message.
	Partial() []*messagev1.Message
	// Pieces are RunTurnResponse.pieces of the answer.
	Pieces() []uint32
	// Stored waits until the message is on disk that is answered. Before that the turn may read and compute, but not store anything nor ask
	// anybody else. Errors: ErrWithdrawn when it will never be; the end of ctx.
	Stored(ctx context.Context) error
}

// ErrWithdrawn says that a turn is given up whose message was not taken, and is the cause with which its context ends. It counts as none.
var ErrWithdrawn = errors.New("the message was not taken")

// stored waits until the message is on disk whose answer goes to a sink. Where no answer is shown, it is.
func stored(ctx context.Context, to engine.Sink) error {
	if stream, ok := to.(Stream); ok {
		return stream.Stored(ctx)
	}
	return nil
}

// callsOf makes the calls of a turn whose answer goes to a sink.
func (r *Runner) callsOf(to engine.Sink) flow.Caller {
	if stream, ok := to.(Stream); ok && r.Calls != nil {
		return storedCaller{to: stream, next: r.Calls}
	}
	return r.Calls
}

// storedCaller makes no call before the message is on disk: what a call does elsewhere cannot be taken back.
type storedCaller struct {
	to   Stream
	next flow.Caller
}

// Call implements flow.Caller.
func (c storedCaller) Call(ctx context.Context, r *flow.CallRequest) flow.CallAnswer {
	if c.to.Stored(ctx) != nil {
		return flow.CallAnswer{Outcome: flow.CallUnmade}
	}
	return c.next.Call(ctx, r)
}

// shown is what the answer says about how it was shown.
type shown struct {
	interrupted bool
	failure     string
	pieces      []uint32
}

func (s *shown) mark(response *agentv1.RunTurnResponse) {
	response.Interrupted, response.Failure, response.Pieces = s.interrupted, s.failure, s.pieces
}

// show runs the flow of a turn whose answer is shown while it is made.
func (r *Runner) show(ctx context.Context, lane store.Lane, c *opening, input flow.Turn, to Stream) (*flow.Result, shown, error) {
	running, end := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-to.Enough():
			end()
		case <-running.Done():
		}
	}()
	result, err := r.runFlow(running, lane, c, input, to)
	end()
	<-watched
	switch {
	case err == nil:
		return result, shown{pieces: to.Pieces()}, nil
	case ctx.Err() != nil:
		return nil, shown{}, err
	case errors.Is(err, flow.ErrInterrupted):
		return partial(input, to), shown{interrupted: true, failure: interrupted.Reason(), pieces: to.Pieces()}, nil
	case isClosed(to.Enough()):
		return partial(input, to), shown{interrupted: true, pieces: to.Pieces()}, nil
	default:
		return nil, shown{}, err
	}
}

var interrupted = rpcerr.New(codes.Unavailable, agentv1.ErrorReason_ERROR_REASON_ANSWER_INTERRUPTED, "the answer broke off")

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// partial is the result of a turn that broke off: what was shown of it, and the conversation as it stood before.
func partial(input flow.Turn, to Stream) *flow.Result {
	state := input.State
	if state == nil {
		state = &agentv1.FlowState{Contact: input.Attributes}
	}
	return &flow.Result{State: state, Context: state.GetContext().GetFields(), Messages: to.Partial()}
}

// unopened says that a conversation can be opened: not when the caller chose its identifier, and it has ended.
func (r *Runner) unopened(ctx context.Context, request *agentv1.RunTurnRequest) error {
	if request.GetInteractionId() == "" {
		return nil
	}
	exists, err := r.Store.HasConversation(ctx, request.GetInstance(), request.GetInteractionId())
	if err != nil {
		return err
	}
	if exists {
		return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_FINISHED, "the conversation has ended",
			"id", request.GetInteractionId())
	}
	return nil
}

// repeatable makes a turn give the same answer whenever it runs: what is seen of it may have been shown before a crash.
func repeatable(input *flow.Turn, request *agentv1.RunTurnRequest) {
	input.Now, input.Begun = request.GetAcceptTime().AsTime(), input.Now
	input.NewID = idsOf(request.GetMessageId())
}

// idsOf makes identifiers, always the same for the same turn: its seconds, where it has them, and a hash.
func idsOf(turnID string) func() string {
	var n uint64
	prefix := "00000000"
	if raw, err := hex.DecodeString(turnID); err == nil && len(raw) >= 4 {
		prefix = hex.EncodeToString(raw[:4])
	}
	return func() string {
		n++
		hash := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(turnID), n))
		return fmt.Sprintf("%s%x", prefix, hash[:8])
	}
}
