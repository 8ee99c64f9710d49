package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// minBackoff and maxBackoff bound the wait before a turn that failed for now is tried again; it doubles in between.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	// maxTries is how often a turn may end in a panic, or with its process.
	maxTries = 3
	// poll is how often the store is asked for what another process does.
	poll = 200 * time.Millisecond
)

// lane is the turns of a conversation that this process holds.
type lane struct {
	current *job
	waiting []*job // by their numbers
}

// job is a message that this process holds.
type job struct {
	store.ChatTurn
	// behind says that turns which other processes hold may come before it.
	behind bool
	// caller has what belongs to the call, its trace and its request id, and never ends.
	caller context.Context
	answer *answer
	runs   atomic.Bool
	panics int64
}

// started says that it is the job's turn.
func (j *job) started() bool { return j.runs.Load() && j.answer.early.isStored() }

func (j *job) key() turnKey { return turnKey{j.Instance, j.ID} }

func (j *job) place() conversation { return conversation{j.Instance, j.ConversationID} }

// room says whether another message can be held. Errors: UNAVAILABLE.
func (s *Service) room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errStopping
	}
	if len(s.held) >= maxHeld {
		return rpcerr.Unavailable(errors.New("too many chat messages wait for their answers"))
	}
	return nil
}

// running is the job of a turn, nil when this process does not hold it, or its message is not on disk.
func (s *Service) running(k turnKey) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.held[k]; j != nil && j.answer.early.isStored() {
		return j
	}
	return nil
}

// put gives a job to its lane. What came while the process stops is left to the next start.
func (s *Service) put(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		j.answer.fail(errStopping)
		return
	}
	if l := s.lanes[j.place()]; l != nil {
		s.hold(j)
		l.waiting = append(l.waiting, j)
		slices.SortStableFunc(l.waiting, func(a, b *job) int { return int(a.Number - b.Number) })
		return
	}
	s.open(j)
}

// hold counts a job among those that are held. It is called under the lock.
func (s *Service) hold(j *job) {
	s.held[j.key()] = j
	s.Metrics.held.Set(float64(len(s.held)))
}

// open opens a lane for a job. It is called under the lock.
func (s *Service) open(j *job) {
	s.hold(j)
	l := &lane{current: j}
	s.lanes[j.place()] = l
	go s.runLane(j.place(), l)
}

// runLane runs the turns of a conversation until there is none.
func (s *Service) runLane(place conversation, l *lane) {
	for j := l.current; j != nil; j = s.done(place, l, j) {
		s.run(j)
	}
}

// done takes a job out and gives the next one, nil when there is none.
func (s *Service) done(place conversation, l *lane, j *job) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[j.key()] == j { // not what took the place of one that was withdrawn
		delete(s.held, j.key())
	}
	s.Metrics.held.Set(float64(len(s.held)))
	l.current = nil
	if len(l.waiting) > 0 {
		l.current, l.waiting = l.waiting[0], l.waiting[1:]
		return l.current
	}
	delete(s.lanes, place)
	if s.stopping && len(s.held) == 0 {
		close(s.idle)
	}
	return nil
}

// run runs a turn until it has an answer, has failed for good, or the process stops.
func (s *Service) run(j *job) {
	ctx, cancel := context.WithCancel(j.caller)
	defer cancel()
	defer context.AfterFunc(s.work, cancel)()
	backoff := minBackoff
	for {
		err := s.attempt(ctx, j)
		switch {
		case j.answer.Stored(ctx) != nil:
			return // it was withdrawn: nobody has heard of it
		case err == nil:
			s.Metrics.answered.Inc()
			s.tell(TopicEnded, j.ConversationID)
			return
		case ctx.Err() != nil:
			j.answer.fail(errStopping)
			return
		case !isTransient(err):
			s.giveUp(ctx, j, err)
			return
		}
		s.Logger.LogAttrs(ctx, slog.LevelWarn, "chat turn failed and is tried again", slog.String("instance", j.Instance),
			slog.String("conversation_id", j.ConversationID), slog.String("error", err.Error()), slog.Duration("retry_in", backoff))
		if !clock.Wait(ctx, s.Clock, backoff, nil) {
			continue // ctx has ended, and attempt says so
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// attempt runs a turn once.
func (s *Service) attempt(ctx context.Context, j *job) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = s.panicked(ctx, j, value)
		}
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	if j.Tries > maxTries {
		return rpcerr.Internal(errors.New("the process died in this turn each time"))
	}
	if err := s.awaitTurn(ctx, j); err != nil {
		return err
	}
	j.runs.Store(true)
	limit := s.Clock.NewTimer(maxTurn)
	defer limit.Stop()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-limit.C():
			j.answer.stop()
		case <-ended:
		}
	}()
	j.answer.Restart()
	response, err := s.Runner.Run(ctx, &agentv1.RunTurnRequest{
		Instance: j.Instance, AgentId: j.AgentID, MessageId: j.ID, Source: source, EndpointId: j.ConversationID, Identifier: j.Identifier,
		Text: j.Text, AcceptTime: timestamppb.New(j.AcceptTime), InteractionId: j.ConversationID,
	}, j.answer)
	if err != nil {
		return err
	}
	j.answer.finish(j.ID, response)
	return nil
}

// awaitTurn waits for the turns that come before and that other processes hold.
func (s *Service) awaitTurn(ctx context.Context, j *job) error {
	if !j.behind {
		return nil
	}
	return s.untilEnded(ctx, j.ConversationID, func() (bool, error) {
		ahead, err := s.Store.ChatIsAhead(ctx, &j.ChatTurn)
		if err != nil {
			return false, rpcerr.FromStore(err)
		}
		j.behind = ahead
		return !ahead, nil
	})
}

// panicked says what a panic in a turn means: it is tried again, but not for ever.
func (s *Service) panicked(ctx context.Context, j *job, value any) error {
	text := fmt.Sprintf("%T", value) // another value may be a person's data
	if known, ok := value.(error); ok {
		text = known.Error()
	}
	s.Logger.LogAttrs(ctx, slog.LevelError, "chat turn panicked", slog.String("instance", j.Instance), slog.String("agent_id", j.AgentID),
		slog.String("conversation_id", j.ConversationID), slog.String("panic", text), slog.String("stack", string(debug.Stack())))
	if j.panics++; j.panics+j.Tries >= maxTries {
		return rpcerr.Internal(errors.New("the turn panicked each time"))
	}
	return rpcerr.Unavailable(errors.New("the turn panicked"))
}

// giveUp says for good that a message has no turn.
func (s *Service) giveUp(ctx context.Context, j *job, reason error) {
	if rpcerr.Reason(reason) == "INTERNAL" {
		s.Logger.LogAttrs(ctx, slog.LevelError, "chat turn failed", slog.String("instance", j.Instance), slog.String("agent_id", j.AgentID),
			slog.String("conversation_id", j.ConversationID), slog.String("error", reason.Error()))
	}
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := s.Store.FailChat(ctx, &j.ChatTurn, reasonOf(reason))
		if err == nil {
			s.Metrics.failed.Inc()
			j.answer.fail(reason)
			s.tell(TopicEnded, j.ConversationID)
			return
		}
		if !clock.Wait(ctx, s.Clock, backoff, nil) {
			j.answer.fail(errStopping)
			return
		}
	}
}
