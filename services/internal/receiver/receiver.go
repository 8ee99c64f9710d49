// Package receiver is a webhook receiver for trying things out: it verifies
// signatures, shows what it gets, acknowledges, and can misbehave on demand.
package receiver

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// maxBody is the largest webhook that is read, in bytes.
	maxBody = 1 << 20
	// acknowledgement is the documented answer.
	acknowledgement = `{"status":"ok"}`
)

// Options say how a receiver behaves. The zero value acknowledges everything.
type Options struct {
	// Secrets are those whose signatures are accepted: a webhook without one
	// that fits is answered with status 401. None: signatures are not looked at.
	Secrets []webhook.Secret
	// Misbehaviour is what goes wrong, and how often.
	Misbehaviour
	// Delay is how long each answer waits.
	Delay time.Duration
	// Random decides which webhooks fail. Only used when FailRate is set; it
	// must be safe for concurrent use.
	Random webhook.Rand
	// Clock measures Delay, Slow and the age of timestamps.
	Clock clock.Clock
	// Show is called with each webhook before it is answered, from several
	// goroutines at once.
	Show func(Received)
}

// Misbehaviour is what a receiver does wrong. Without one of Statuses, Drop,
// WrongBody and Slow, a webhook that fails is answered with status 500.
type Misbehaviour struct {
	// FailRate is the share of webhooks that fail, from 0 to 1.
	FailRate float64
	// FailFirst is how many webhooks fail before any is treated otherwise.
	FailFirst int
	// Statuses are those that failures are answered with, in turn.
	Statuses []int
	// RetryAfter is the header of that name in failures; empty: none.
	RetryAfter string
	// Drop ends the connection without an answer.
	Drop bool
	// WrongBody is answered with status 200; empty: not.
	WrongBody string
	// Slow is how long each byte of the answer waits, which is then the
	// acknowledgement; 0: not.
	Slow time.Duration
}

// Received is one webhook.
type Received struct {
	// ID is the header webhook-id: the same on every attempt.
	ID string
	// Sequence is the header Prosa-Sequence: 1, 2, 3 … within a conversation.
	Sequence string
	// Body is the body, byte for byte.
	Body []byte
	// Problem says what is wrong with the signature; nil when nothing is, or
	// when there were no secrets to check it with.
	Problem error
	// Status is the status that the webhook is answered with; 0: the connection
	// is ended without an answer.
	Status int
	// Note says how the answer is wrong although its status is 200; empty: it
	// is not.
	Note string
}

// receiver is the handler.
type receiver struct {
	Options
	count    atomic.Int64 // webhooks that came
	failures atomic.Int64 // of them failed
}

// New makes a receiver that takes a webhook on every path.
func New(options Options) http.Handler { return &receiver{Options: options} }

// ServeHTTP implements http.Handler.
func (h *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	received := Received{
		ID:       r.Header.Get(webhook.HeaderID),
		Sequence: r.Header.Get(webhook.HeaderSequence),
		Body:     body,
	}
	if len(h.Secrets) > 0 {
		received.Problem = webhook.Verify(r.Header, body, h.Clock.Now(), h.Secrets...)
	}
	answer := h.decide(received.Problem)
	received.Status, received.Note = answer.status, answer.note
	if h.Delay > 0 {
		h.wait(r, h.Delay)
	}
	if h.Show != nil {
		h.Show(received)
	}
	h.answer(w, r, answer)
}

// answer is what a webhook is answered with.
type answer struct {
	status     int
	body       string
	retryAfter string
	slow       bool
	note       string
}

// decide says how a webhook is answered.
func (h *receiver) decide(problem error) answer {
	if problem != nil {
		return answer{status: http.StatusUnauthorized}
	}
	n := h.count.Add(1)
	fails := n <= int64(h.FailFirst) || h.FailRate > 0 && h.Random.Float64() < h.FailRate
	if !fails {
		return answer{status: http.StatusOK, body: acknowledgement}
	}
	failure := h.failures.Add(1) - 1
	switch {
	case h.Drop:
		return answer{}
	case h.WrongBody != "":
		return answer{status: http.StatusOK, body: h.WrongBody, note: "wrong body"}
	case h.Slow > 0:
		return answer{status: http.StatusOK, body: acknowledgement, slow: true, note: "slow"}
	case len(h.Statuses) > 0:
		return answer{status: h.Statuses[failure%int64(len(h.Statuses))], retryAfter: h.RetryAfter}
	}
	return answer{status: http.StatusInternalServerError, retryAfter: h.RetryAfter}
}

// answer sends the answer. That the caller is gone by then is no matter.
func (h *receiver) answer(w http.ResponseWriter, r *http.Request, a answer) {
	if a.status == 0 {
		hangUp()
	}
	w.Header().Set("Content-Type", "application/json")
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	w.WriteHeader(a.status)
	if !a.slow {
		_, _ = io.WriteString(w, a.body)
		return
	}
	flusher := http.NewResponseController(w)
	for one := range strings.SplitSeq(a.body, "") {
		h.wait(r, h.Slow)
		if _, err := io.WriteString(w, one); err != nil {
			return
		}
		_ = flusher.Flush()
	}
}

// wait hangs up if the caller goes, or the server stops, before the time is
// over: an empty answer could be taken for an acknowledgement.
func (h *receiver) wait(r *http.Request, d time.Duration) {
	if !clock.Wait(r.Context(), h.Clock, d, nil) {
		hangUp()
	}
}

// hangUp ends the connection without an answer, or in the middle of it.
func hangUp() { panic(http.ErrAbortHandler) }
