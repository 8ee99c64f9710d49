package chat

import (
	"context"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
)

// ahead is a turn that runs while its message is being stored, so that the disk and what the turn must read are waited for at once.
//
// It runs as any other, but for a barrier that turn.Runner keeps (see turn.Stream): before the message is on disk the turn only reads and
// computes. It stores nothing, and asks neither a model nor any other system, which may never hear of a message that was not taken. What it
// says is kept where nobody looks: neither its caller nor anybody else knows of the interaction until it is stored. If the message is not
// taken, or other turns come before it, the turn is withdrawn, and nothing is left of it.
type ahead struct {
	job      *job
	withdraw context.CancelCauseFunc
}

// runAhead lets the turn of a message run that is about to be stored. It is nil when there is something else in its conversation, or the
// process stops. The caller is inside the conversation's gate until it has said what became of the message, and says it in any case.
func (s *Service) runAhead(ctx context.Context, t store.ChatTurn) *ahead {
	caller, withdraw := context.WithCancelCause(context.WithoutCancel(ctx))
	j := &job{ChatTurn: t, caller: caller, answer: newAnswer(t.AcceptTime)}
	j.answer.early = &verdict{known: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.lanes[j.place()] != nil {
		withdraw(nil)
		return nil
	}
	s.open(j)
	return &ahead{job: j, withdraw: withdraw}
}

// settle says what became of the message, and gives its job when the turn goes on; else it is withdrawn.
func (a *ahead) settle(accepted store.AcceptedChat, err error) *job {
	if a == nil {
		return nil
	}
	if err != nil || accepted.Repeated || accepted.Behind {
		a.end()
		return nil
	}
	a.job.Number = accepted.Number
	a.job.answer.early.stored = true
	close(a.job.answer.early.known)
	return a.job
}

// end withdraws the turn unless it is settled.
func (a *ahead) end() {
	if a == nil || a.job.answer.early.isKnown() {
		return
	}
	a.withdraw(turn.ErrWithdrawn)
	close(a.job.answer.early.known)
}

// verdict is what became of a message whose turn runs ahead. Nil is that of one that was on disk before.
type verdict struct {
	known  chan struct{} // closed when it is
	stored bool          // by then
}

// wait waits until it is known: the message is being stored, and that ends, well or not.
func (v *verdict) wait() {
	if v != nil {
		<-v.known
	}
}

// isKnown says that it has been said.
func (v *verdict) isKnown() bool {
	select {
	case <-v.known:
		return true
	default:
		return false
	}
}

// isStored says that the message is known to be on disk.
func (v *verdict) isStored() bool { return v == nil || v.isKnown() && v.stored }

// err is why a turn must not go on, once it is known.
func (v *verdict) err() error {
	if v.isStored() {
		return nil
	}
	return turn.ErrWithdrawn
}
