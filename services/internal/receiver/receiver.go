// Package receiver is a webhook receiver for trying things out: it verifies
// signatures, shows what it gets, acknowledges, and can misbehave on demand.
package receiver

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// maxBody is the largest webhook that is read, in bytes.
const maxBody = 1 << 20

// Options say how a receiver behaves.
type Options struct {
	// Secrets are those whose signatures are accepted. None: signatures are
	// not looked at.
	Secrets []webhook.Secret
	// FailRate is the share of webhooks that are answered with status 500,
	// from 0 to 1.
	FailRate float64
	// Delay is how long each answer waits.
	Delay time.Duration
	// Random decides which webhooks fail. Only used when FailRate is set; it
	// must be safe for concurrent use.
	Random webhook.Rand
	// Clock measures Delay and the age of timestamps.
	Clock clock.Clock
	// Show is called with each webhook before it is answered, from several
	// goroutines at once.
	Show func(Received)
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
	// Status is the status that the webhook is answered with.
	Status int
}

// New makes a receiver that takes a webhook on every path.
func New(options Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			Status:   http.StatusOK,
		}
		if len(options.Secrets) > 0 {
			received.Problem = webhook.Verify(r.Header, body, options.Clock.Now(), options.Secrets...)
		}
		switch {
		case received.Problem != nil:
			received.Status = http.StatusUnauthorized
		case options.FailRate > 0 && options.Random.Float64() < options.FailRate:
			received.Status = http.StatusInternalServerError
		}
		if options.Delay > 0 {
			timer := options.Clock.NewTimer(options.Delay)
			select {
			case <-timer.C():
			case <-r.Context().Done():
				timer.Stop()
				return
			}
		}
		if options.Show != nil {
			options.Show(received)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(received.Status)
		if received.Status == http.StatusOK {
			_, _ = io.WriteString(w, `{"status":"ok"}`) // the caller is gone when this fails
		}
	})
}
