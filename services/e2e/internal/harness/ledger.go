package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Ledger keeps what was acknowledged, to compare it with what arrived.
type Ledger struct {
	mu      sync.Mutex
	texts   map[string][]string // by person, in the order of acknowledgement
	count   int
	changed chan struct{}
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger { return &Ledger{texts: map[string][]string{}, changed: make(chan struct{})} }

// Add notes that a person's message was acknowledged.
func (l *Ledger) Add(person, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts[person] = append(l.texts[person], text)
	l.count++
	close(l.changed)
	l.changed = make(chan struct{})
}

// Accepted gives what was acknowledged, by person, in order. Nobody may add
// meanwhile.
func (l *Ledger) Accepted() map[string][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.texts
}

// Counts is how many messages of each person were acknowledged so far.
func (l *Ledger) Counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[string]int{}
	for person, texts := range l.texts {
		counts[person] = len(texts)
	}
	return counts
}

// Count is how many messages were acknowledged so far.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Wait waits until so many messages are acknowledged.
func (l *Ledger) Wait(ctx context.Context, count int) error {
	for {
		l.mu.Lock()
		reached, changed := l.count >= count, l.changed
		l.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the load stands still: %w", ctx.Err())
		}
	}
}

// CheckOrder compares the answers of the agent Echo, as they arrived first,
// with what was acknowledged: every message is answered once, in order, a
// conversation is one person's, and its sequences have no gap.
func CheckOrder(answers []Delivery, accepted map[string][]string) error {
	sequences, owner, arrived := map[string]int64{}, map[string]string{}, map[string][]string{}
	for _, answer := range answers {
		sequences[answer.InteractionID]++
		if want := sequences[answer.InteractionID]; answer.Sequence != want {
			return fmt.Errorf("conversation %s: answer %d arrived as number %d", answer.InteractionID, answer.Sequence, want)
		}
		var content struct{ Messages []struct{ Text string } }
		if err := json.Unmarshal(answer.Body, &content); err != nil || len(content.Messages) == 0 {
			return fmt.Errorf("decode answer %q: %w", answer.Body, err)
		}
		var person string
		var number int
		if _, err := fmt.Sscanf(content.Messages[0].Text, "eco: %s message %d", &person, &number); err != nil {
			return fmt.Errorf("read %q: %w", content.Messages[0].Text, err)
		}
		if before, ok := owner[answer.InteractionID]; ok && before != person {
			return fmt.Errorf("conversation %s is of %s and of %s", answer.InteractionID, before, person)
		}
		owner[answer.InteractionID] = person
		arrived[person] = append(arrived[person], messageOf(person, number))
	}
	for _, person := range slices.Sorted(maps.Keys(accepted)) {
		if !slices.Equal(accepted[person], arrived[person]) {
			return fmt.Errorf("%s: acknowledged were %q, and answered %q", person, accepted[person], arrived[person])
		}
	}
	if len(arrived) != len(accepted) {
		return fmt.Errorf("%d persons were answered, and %d acknowledged", len(arrived), len(accepted))
	}
	return nil
}

func messageOf(person string, number int) string { return fmt.Sprintf("%s message %d", person, number) }

// sendAgain is the wait before a message that was not acknowledged is sent
// again.
const sendAgain = 10 * time.Millisecond

// Say sends a person's next message to the agent Echo by one client after the
// other, until it is acknowledged: the same key makes repetitions harmless. A
// refusal is an error.
func (l *Ledger) Say(ctx context.Context, clients []*Client, channelID, person string, number int) error {
	text := messageOf(person, number)
	for try := number; ; try++ {
		status, _, err := clients[try%len(clients)].Send(ctx, channelID, person, text, text)
		if err == nil && status == http.StatusOK {
			l.Add(person, text)
			return nil
		}
		if err == nil && status < http.StatusInternalServerError {
			return fmt.Errorf("%q was refused with %d", text, status)
		}
		select {
		case <-time.After(sendAgain):
		case <-ctx.Done():
			return fmt.Errorf("%q was not acknowledged: %w (last %d, %w)", text, ctx.Err(), status, err)
		}
	}
}
