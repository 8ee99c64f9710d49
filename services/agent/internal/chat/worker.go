package chat

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// holdTime is how long a process that froze or died keeps its turns from the others.
	holdTime = 6 * time.Second
	// recoverInterval is how often turns are looked for that nobody runs.
	recoverInterval = 5 * time.Second
	// sweepInterval is how often messages that are done with are deleted, and keepFailed how long those without a turn are kept: as long
	// as their keys.
	sweepInterval = time.Minute
	sweepLease    = "chat-sweep"
	keepFailed    = 24 * time.Hour
	// stopInterval is how often it is asked whether another process wants a turn stopped.
	stopInterval = 500 * time.Millisecond
)

// leaseTime is until when this process holds its turns.
type leaseTime struct {
	mu    sync.Mutex
	until time.Time
}

// wanted is the lease to take with the next write: the zero value when the present one will do, or nobody else could take the turns.
func (l *leaseTime) wanted(s *Service, now time.Time) store.ChatLease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.Shared || l.until.Sub(now) > holdTime/2 {
		return store.ChatLease{}
	}
	return store.ChatLease{Holder: s.Holder, Now: now, Until: now.Add(holdTime)}
}

// taken says that a lease was taken.
func (l *leaseTime) taken(lease store.ChatLease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease.Until.After(l.until) {
		l.until = lease.Until
	}
}

// Name is the worker's name.
func (s *Service) Name() string { return "agent-chat" }

// Run takes up the turns that an earlier process left, and looks after those of this one, until ctx ends; then it takes no more and
// waits for those that run. It can run once.
func (s *Service) Run(ctx context.Context) error {
	for {
		err := s.adopt(ctx)
		if err == nil {
			break
		}
		s.Logger.LogAttrs(ctx, slog.LevelWarn, "chat turns could not be taken up", slog.String("error", err.Error()))
		if !clock.Wait(ctx, s.Clock, minBackoff, nil) {
			s.drain()
			return nil
		}
	}
	s.letIn()
	s.lookAfter(ctx)
	s.drain()
	return nil
}

// letIn lets messages in.
func (s *Service) letIn() {
	select {
	case <-s.ready: // Run was restarted
	default:
		close(s.ready)
	}
}

// lookAfter does what must be done now and then.
func (s *Service) lookAfter(ctx context.Context) {
	interval := recoverInterval
	if s.Shared {
		interval = stopInterval
	}
	now := s.Clock.Now()
	adopted, swept := now, now
	for clock.Wait(ctx, s.Clock, interval, s.attend) {
		now := s.Clock.Now()
		var errs []error
		if s.Shared {
			errs = append(errs, s.stopAsked(ctx), s.renew(ctx, now))
		}
		if s.orphans.Swap(false) || now.Sub(adopted) >= recoverInterval {
			adopted = now
			errs = append(errs, s.adopt(ctx))
		}
		if now.Sub(swept) >= sweepInterval {
			swept = now
			errs = append(errs, s.sweep(ctx, now))
		}
		if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
			s.Logger.LogAttrs(ctx, slog.LevelWarn, "chat turns could not be looked after", slog.String("error", err.Error()))
		}
	}
}

// sweep deletes the messages that are done with, in one process at a time.
func (s *Service) sweep(ctx context.Context, now time.Time) error {
	if s.Shared {
		_, held, err := s.Store.TakeLease(ctx, sweepLease, s.Holder, now, now.Add(2*sweepInterval))
		if err != nil || !held {
			return err
		}
	}
	return s.Store.SweepChats(ctx, now.Add(-keepFailed))
}

// drain takes no more messages and waits for the turns that run; those that go on for too long are cut off, for the next start.
func (s *Service) drain() {
	s.mu.Lock()
	s.stopping = true
	empty := len(s.held) == 0
	if empty {
		close(s.idle)
	}
	s.mu.Unlock()
	if !empty && s.Grace > 0 {
		timer := s.Clock.NewTimer(s.Grace)
		select {
		case <-s.idle:
		case <-timer.C():
		}
		timer.Stop()
	}
	s.cut()
	<-s.idle
}

// adopt takes up the turns that nobody runs.
func (s *Service) adopt(ctx context.Context) error {
	now := s.Clock.Now()
	found, err := s.Store.AbandonedChats(ctx, s.Holder, now, maxHeld)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(t store.ChatTurn) bool { return s.running(turnKey{t.Instance, t.ID}) != nil })
	for len(found) > 0 {
		// All of one conversation at once, so that they come to their lane in order.
		first := found[0]
		n := slices.IndexFunc(found, func(t store.ChatTurn) bool {
			return t.Instance != first.Instance || t.ConversationID != first.ConversationID
		})
		if n < 0 {
			n = len(found)
		}
		if err := s.adoptAll(ctx, found[:n]); err != nil {
			return err
		}
		found = found[n:]
	}
	return nil
}

// adoptAll takes up turns of one conversation.
func (s *Service) adoptAll(ctx context.Context, found []store.ChatTurn) error {
	leave, err := s.gates.enter(ctx, conversation{found[0].Instance, found[0].ConversationID})
	if err != nil {
		return err
	}
	defer leave()
	// What was accepted when it was found may be held by now, or done.
	found = slices.DeleteFunc(slices.Clone(found), func(t store.ChatTurn) bool { return s.running(turnKey{t.Instance, t.ID}) != nil })
	lease := s.lease.wanted(s, s.Clock.Now())
	claimed, err := s.Store.ClaimChats(ctx, found, s.Holder, lease)
	if err != nil {
		return err
	}
	s.lease.taken(lease)
	for _, t := range claimed {
		s.Logger.LogAttrs(ctx, slog.LevelInfo, "chat turn is taken up", slog.String("instance", t.Instance),
			slog.String("conversation_id", t.ConversationID), slog.Int64("tries", t.Tries))
		s.put(&job{ChatTurn: t, behind: s.Shared, caller: context.WithoutCancel(ctx), answer: newAnswer(t.AcceptTime)})
		s.ends.ended(t.ConversationID) // who followed the answer from afar finds it here
	}
	return nil
}

// renew keeps the turns that this process holds.
func (s *Service) renew(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	held := len(s.held)
	s.mu.Unlock()
	lease := s.lease.wanted(s, now)
	if held == 0 || lease.Holder == "" {
		return nil
	}
	if err := s.Store.HoldChats(ctx, lease); err != nil {
		return err
	}
	s.lease.taken(lease)
	return nil
}

// stopAsked stops the turns that other processes want stopped.
func (s *Service) stopAsked(ctx context.Context) error {
	s.mu.Lock()
	held := len(s.held)
	s.mu.Unlock()
	if held == 0 {
		return nil
	}
	ids, err := s.Store.StoppedChats(ctx, s.Holder)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.current != nil && l.current.started() && slices.Contains(ids, l.current.ID) {
			l.current.answer.stop()
		}
	}
	return nil
}
