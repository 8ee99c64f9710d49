package chat

import (
	"context"
	"io"
	"runtime"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
)

// answer is an answer while it is made: a turn writes it, and any number of readers follow, each at its own pace. A reader that is slow
// holds up nobody, and costs nothing but its place. It is safe for concurrent use.
type answer struct {
	made   *timestamppb.Timestamp
	enough chan struct{}
	early  *verdict // on a message that was not on disk when this was made; nil: it was

	mu      sync.Mutex
	script  *script
	broken  bool // what comes no longer fits what was shown; the stored answer decides
	ended   bool
	err     error         // what the answer ended with
	stopped bool          // enough is closed
	changed chan struct{} // closed at the next change; nil while nobody waits
}

var _ turn.Stream = (*answer)(nil)

func newAnswer(at time.Time) *answer {
	return &answer{made: timestamppb.New(at.Truncate(time.Millisecond)), enough: make(chan struct{}), script: newScript()}
}

// storedAnswer is an answer that was made before.
func storedAnswer(id string, stored *agentv1.RunTurnResponse) *answer {
	a := newAnswer(time.Time{})
	a.finish(id, stored)
	return a
}

// failedAnswer is that of a message without a turn.
func failedAnswer(err error) *answer {
	a := newAnswer(time.Time{})
	a.fail(err)
	return a
}

// change changes the answer and tells the readers, if any wait.
func (a *answer) change(change func()) (awaited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	if a.changed == nil {
		return false
	}
	close(a.changed)
	a.changed = nil
	return true
}

// Text is of engine.Sink. Who waits for the piece goes first: a model that has said more already would else be heard out before anybody
// sees its first word.
func (a *answer) Text(piece string) {
	awaited := a.change(func() {
		if !a.broken {
			a.script.streamed = true
			a.script.add(piece)
		}
	})
	if awaited {
		runtime.Gosched()
	}
}

// Message is of engine.Sink.
func (a *answer) Message(m *messagev1.Message) {
	a.change(func() {
		if !a.broken {
			a.broken = a.script.close(m) != nil
		}
	})
}

// Restart is of engine.Sink. Readers go on where the new answer reaches their place, if it is the same up to there.
func (a *answer) Restart() {
	a.change(func() { a.script, a.broken = newScript(), false })
}

// Enough is of turn.Stream.
func (a *answer) Enough() <-chan struct{} { return a.enough }

// Partial is of turn.Stream.
func (a *answer) Partial() []*messagev1.Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.script.partial(a.made)
}

// Pieces is of turn.Stream.
func (a *answer) Pieces() []uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.script.pieces()
}

// Stored is of turn.Stream.
func (a *answer) Stored(context.Context) error {
	a.early.wait()
	return a.early.err()
}

// stop says that nobody wants more.
func (a *answer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		a.stopped = true
		close(a.enough)
	}
}

// finish ends the answer with what was stored of it. The script is made of that, so that whoever reads it later reads the same.
func (a *answer) finish(id string, stored *agentv1.RunTurnResponse) {
	a.change(func() {
		a.script, a.ended = replay(id, stored), true
		if stored.GetFailure() != "" {
			a.err = failure(stored.GetFailure())
		}
	})
}

// fail ends the answer without one.
func (a *answer) fail(err error) {
	a.change(func() { a.ended, a.err = true, err })
}

// check says whether what is known of the answer so far begins as the reader's place has it.
func (a *answer) check(_ context.Context, id string, from Place) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, found := a.script.after(from)
	if found == foundDiverged || found == foundBeyond && a.ended && a.err == nil {
		return diverged(id)
	}
	return nil
}

// next waits for the events behind a place. Errors: io.EOF behind the last one; STREAM_DIVERGED; what the answer ended with; the end
// of ctx.
func (a *answer) next(ctx context.Context, id string, from Place) ([]Event, error) {
	for {
		events, changed, err := a.look(id, from)
		if len(events) > 0 || err != nil {
			return events, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look gives the events behind a place, or what tells of a change when there are none.
func (a *answer) look(id string, from Place) ([]Event, <-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	events, found := a.script.after(from)
	switch {
	case found == foundDiverged:
		return nil, nil, diverged(id)
	case len(events) > 0:
		return events, nil, nil
	case a.ended && a.err != nil:
		return nil, nil, a.err
	case a.ended && found == foundBeyond:
		return nil, nil, diverged(id)
	case a.ended:
		return nil, nil, io.EOF
	}
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return nil, a.changed, nil
}
