// Package chat takes the messages of the conversation API and has them answered: each message is on disk before its caller hears of it,
// has its turn whatever becomes of the caller, and its answer can be followed while it is made, and again later, by any number of
// readers.
//
// The running answers are kept in memory and nothing of them is written before they are whole: a streamed answer costs two commits,
// that of the message and that of the turn. The turn of a message that nothing comes before begins beside its commit, and does no more than
// read before that has ended: see ahead. A turn that was running in a crash runs again, and readers go on in the new answer if it
// begins like the old one, which the ids of the events tell.
package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/idle"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// Queue is how many messages of a conversation may wait behind the one that has its turn.
	Queue = 10
	// queueRetry is when a caller may come again who found the queue full.
	queueRetry = time.Second
	// maxHeld is how many messages without an answer one process has at most.
	maxHeld = 8192
	// maxTurn is how long a turn may go on; then it is stopped. No stream lasts longer.
	maxTurn = 5 * time.Minute
	// source is where the conversations come from.
	source = "agent"
)

// Store is the part of the store that chat needs.
type Store interface {
	ChatTarget(ctx context.Context, instance, id string) (store.ChatTarget, error)
	AcceptChat(ctx context.Context, t store.ChatTurn, key *idempotency.Key, lease store.ChatLease, most int) (store.AcceptedChat, error)
	Chat(ctx context.Context, instance, conversationID, id string) (store.ChatState, error)
	ChatIsAhead(ctx context.Context, t *store.ChatTurn) (bool, error)
	FailChat(ctx context.Context, t *store.ChatTurn, failure string) error
	HoldChats(ctx context.Context, lease store.ChatLease) error
	AbandonedChats(ctx context.Context, holder string, now time.Time, limit int) ([]store.ChatTurn, error)
	ClaimChats(ctx context.Context, found []store.ChatTurn, holder string, lease store.ChatLease) ([]store.ChatTurn, error)
	StopChat(ctx context.Context, instance, conversationID string) (string, error)
	StoppedChats(ctx context.Context, holder string) ([]string, error)
	SweepChats(ctx context.Context, before time.Time) error
	TakeLease(ctx context.Context, name, holder string, now, until time.Time) (store.Lease, bool, error)
}

// Runner runs turns.
type Runner interface {
	Run(ctx context.Context, request *agentv1.RunTurnRequest, sink engine.Sink) (*agentv1.RunTurnResponse, error)
}

// Instances looks instances up.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// IDs makes identifiers.
type IDs interface{ New() string }

// Deps are what a Service works with. All are required but Grace.
type Deps struct {
	Store     Store
	Runner    Runner
	Instances Instances
	Clock     clock.Clock
	IDs       IDs
	Logger    *slog.Logger
	Metrics   *Metrics
	// Holder names this process among those that share the store.
	Holder string
	// Shared says that other processes may have the same store.
	Shared bool
	// Tell tells the other processes of a topic, for their Heard. It must not block. Nil tells nobody.
	Tell func(topic, subject string)
	// Grace is how long turns may go on once the process stops. Zero: they are cut off at once, and the next start runs them again.
	Grace time.Duration
}

// Service takes chat messages. It is safe for concurrent use. Messages are taken, and have their turns, while Run runs.
type Service struct {
	Deps
	ready chan struct{} // closed once what an earlier process left is held
	gates gates
	lease leaseTime
	ends  ends
	// attend says that something is to be looked after now; orphans that there may be turns which nobody runs any more.
	attend  chan struct{}
	orphans atomic.Bool

	mu       sync.Mutex
	stopping bool
	cut      context.CancelFunc // cuts the turns off
	work     context.Context    // of the turns; ends with cut
	lanes    map[conversation]*lane
	held     map[turnKey]*job
	idle     chan struct{} // closed when stopping and nothing is held
}

// conversation names a conversation.
type conversation struct{ instance, id string }

// turnKey names a turn.
type turnKey struct{ instance, id string }

// New returns a service.
func New(deps Deps) *Service {
	work, cut := context.WithCancel(context.Background()) //nolint:forbidigo // turns belong to no call; they end in Run
	return &Service{
		Deps: deps, ready: make(chan struct{}), gates: newGates(), work: work, cut: cut, attend: make(chan struct{}, 1),
		lanes: make(map[conversation]*lane), held: make(map[turnKey]*job), idle: make(chan struct{}),
	}
}

// Interaction is a message and its answer.
type Interaction struct {
	// ID is the interaction's, which is the turn's.
	ID     string
	answer reader
}

// reader follows an answer.
type reader interface {
	check(ctx context.Context, id string, from Place) error
	next(ctx context.Context, id string, from Place) ([]Event, error)
}

// Check says at once whether the answer begins as the place has it, as far as that is known. Errors: STREAM_DIVERGED.
func (i *Interaction) Check(ctx context.Context, from Place) error {
	return i.answer.check(ctx, i.ID, from)
}

// Next waits for the events behind a place, one or more. Errors: io.EOF behind the last one; STREAM_DIVERGED; what the turn failed with;
// UNAVAILABLE when the process stops; the end of ctx.
func (i *Interaction) Next(ctx context.Context, from Place) ([]Event, error) {
	return i.answer.next(ctx, i.ID, from)
}

// Message is what a person says.
type Message struct {
	Instance, ConversationID, Text string
	// Key makes a repetition known; nil when there is none.
	Key *idempotency.Key
}

// Accept takes a message; it is on disk then and will have its turn. A repetition gives the first interaction. Errors:
// CONVERSATION_NOT_FOUND, CONVERSATION_OWNED_BY_CHANNEL, CONVERSATION_FINISHED, CHAT_QUEUE_FULL, IDEMPOTENCY_KEY_REUSED, UNAVAILABLE,
// the end of ctx.
func (s *Service) Accept(ctx context.Context, m Message) (*Interaction, error) {
	target, err := s.target(ctx, m.Instance, m.ConversationID)
	if err != nil {
		return nil, err
	}
	refused := s.refusal(ctx, m, target)
	if refused != nil && m.Key == nil {
		return nil, refused
	}
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// One after the other, so that they come to their lane in the order in which they are stored.
	place := conversation{m.Instance, m.ConversationID}
	leave, err := s.gates.enter(ctx, place)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := s.room(); err != nil {
		return nil, err
	}
	now := s.Clock.Now().Truncate(time.Microsecond)
	t := store.ChatTurn{
		Instance: m.Instance, ConversationID: m.ConversationID, ID: s.IDs.New(), AgentID: target.AgentID, Identifier: target.Identifier,
		Text: m.Text, AcceptTime: now, Holder: s.Holder,
	}
	most := Queue + 1
	if refused != nil {
		most = 0 // nothing new, but what the key stands for
	}
	lease := s.lease.wanted(s, now)
	var early *ahead
	if m.Key == nil { // with a key it may be a repetition
		early = s.runAhead(ctx, t)
		defer early.end()
	}
	// A caller that leaves now must not leave it open whether the message is stored.
	accepted, err := s.Store.AcceptChat(context.WithoutCancel(ctx), t, m.Key, lease, most)
	j := early.settle(accepted, err)
	switch {
	case refused != nil && errors.Is(err, store.ErrQueueFull):
		return nil, refused
	case errors.Is(err, store.ErrQueueFull):
		s.Metrics.full.Inc()
		return nil, rpcerr.New(codes.ResourceExhausted, agentv1.ErrorReason_ERROR_REASON_CHAT_QUEUE_FULL,
			"too many messages wait for their turn in the conversation", "limit", fmt.Sprint(Queue)).WithRetryAfter(queueRetry)
	case err != nil:
		return nil, err
	}
	if accepted.Repeated {
		return s.Find(ctx, m.Instance, m.ConversationID, accepted.ID)
	}
	s.lease.taken(lease)
	if j == nil { // its turn comes later
		t.Number = accepted.Number
		j = &job{ChatTurn: t, behind: accepted.Behind, caller: context.WithoutCancel(ctx), answer: newAnswer(now)}
		s.put(j)
	}
	return &Interaction{ID: t.ID, answer: j.answer}, nil
}

// target finds a conversation.
func (s *Service) target(ctx context.Context, instance, conversationID string) (store.ChatTarget, error) {
	if !id.Valid(conversationID) {
		return store.ChatTarget{}, conversationNotFound(conversationID)
	}
	target, err := s.Store.ChatTarget(ctx, instance, conversationID)
	if errors.Is(err, store.ErrNotFound) {
		return store.ChatTarget{}, conversationNotFound(conversationID)
	}
	return target, err
}

// refusal is why a conversation takes no message now; nil when it does.
func (s *Service) refusal(ctx context.Context, m Message, target store.ChatTarget) error {
	switch {
	case target.Finished:
		return conversationFinished(m.ConversationID)
	case target.Owned:
		return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_OWNED_BY_CHANNEL,
			"a channel has the conversation", "id", m.ConversationID)
	case target.UpdateTime.IsZero():
		return nil
	}
	instance, err := s.Instances.Get(ctx, m.Instance)
	if err != nil {
		return err
	}
	if end, ends := idle.End(target.UpdateTime, instance); ends && !s.Clock.Now().Before(end) {
		return conversationFinished(m.ConversationID)
	}
	return nil
}

// Find gives an interaction that there is. Errors: CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND, those of the store.
func (s *Service) Find(ctx context.Context, instance, conversationID, turnID string) (*Interaction, error) {
	if _, err := s.target(ctx, instance, conversationID); err != nil {
		return nil, err
	}
	if !id.Valid(turnID) {
		return nil, messageNotFound(turnID)
	}
	select {
	case <-s.ready: // what runs is in memory from then on
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if j := s.running(turnKey{instance, turnID}); j != nil {
		if j.ConversationID != conversationID {
			return nil, messageNotFound(turnID)
		}
		return &Interaction{ID: turnID, answer: j.answer}, nil
	}
	made, err := s.stored(ctx, instance, conversationID, turnID)
	if err != nil {
		return nil, err
	}
	if made == nil {
		return &Interaction{ID: turnID, answer: &distant{service: s, instance: instance, conversationID: conversationID}}, nil
	}
	return &Interaction{ID: turnID, answer: made}, nil
}

// stored is an answer as the store has it; nil when there is none yet.
func (s *Service) stored(ctx context.Context, instance, conversationID, turnID string) (*answer, error) {
	state, err := s.Store.Chat(ctx, instance, conversationID, turnID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, messageNotFound(turnID)
	case err != nil:
		return nil, err
	case state.Failure != "":
		return failedAnswer(failure(state.Failure)), nil
	case state.Answer == nil:
		return nil, nil
	}
	response := &agentv1.RunTurnResponse{}
	if err := proto.Unmarshal(state.Answer, response); err != nil {
		return nil, fmt.Errorf("decode stored answer: %w", err)
	}
	return storedAnswer(turnID, response), nil
}

// Stop stops the turn that runs in a conversation and gives it; empty when there is none. Errors: CONVERSATION_NOT_FOUND, those of the
// store.
func (s *Service) Stop(ctx context.Context, instance, conversationID string) (string, error) {
	if _, err := s.target(ctx, instance, conversationID); err != nil {
		return "", err
	}
	s.mu.Lock()
	var current *job
	if l := s.lanes[conversation{instance, conversationID}]; l != nil {
		current = l.current
	}
	s.mu.Unlock()
	if current != nil && current.started() {
		current.answer.stop()
		s.Metrics.stopped.Inc()
		return current.ID, nil
	}
	if !s.Shared {
		return "", nil
	}
	asked, err := s.Store.StopChat(ctx, instance, conversationID)
	if err == nil && asked != "" {
		s.tell(TopicStop, "")
	}
	return asked, err
}
