package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Delivery is one webhook as it arrived.
type Delivery struct {
	// ID is the header webhook-id.
	ID string
	// Sequence is the header Prosa-Sequence.
	Sequence int64
	// InteractionID names the conversation.
	InteractionID string
	// Header and Body are all that was sent.
	Header http.Header
	Body   []byte
}

// Receiver records every webhook that it gets, in the order of arrival, and
// acknowledges it.
type Receiver struct {
	// URL is where it listens.
	URL string

	server  *http.Server
	mu      sync.Mutex
	all     []Delivery
	changed chan struct{}
	answer  func(Delivery) (status int, body string)
}

// NewReceiver starts a receiver on a free port of loopback. answer decides
// what a webhook is answered; nil acknowledges all.
func NewReceiver(answer func(Delivery) (status int, body string)) (*Receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	r := &Receiver{
		URL:     "http://" + listener.Addr().String() + "/hook",
		changed: make(chan struct{}),
		answer:  answer,
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(listener) }() // ends with Close
	return r, nil
}

// ServeHTTP records and answers one webhook.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	var content struct {
		InteractionID string `json:"interactionId"`
	}
	if err := json.Unmarshal(body, &content); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	sequence, err := strconv.ParseInt(request.Header.Get("Prosa-Sequence"), 10, 64)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	delivery := Delivery{
		ID:            request.Header.Get("webhook-id"),
		Sequence:      sequence,
		InteractionID: content.InteractionID,
		Header:        request.Header.Clone(),
		Body:          body,
	}
	r.mu.Lock()
	r.all = append(r.all, delivery)
	r.wake()
	r.mu.Unlock()

	status, text := http.StatusOK, `{"status":"ok"}`
	if r.answer != nil {
		status, text = r.answer(delivery)
		// Who waits may go by what answer has counted.
		r.mu.Lock()
		r.wake()
		r.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the sender is gone when this fails
}

// wake has Wait look again; the caller holds the lock.
func (r *Receiver) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// All gives every webhook so far, repeated ones included.
func (r *Receiver) All() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Delivery(nil), r.all...)
}

// First gives the webhooks so far without repetitions, in the order in which
// each arrived first.
func (r *Receiver) First() []Delivery {
	seen := map[string]bool{}
	var first []Delivery
	for _, delivery := range r.All() {
		if !seen[delivery.ID] {
			seen[delivery.ID] = true
			first = append(first, delivery)
		}
	}
	return first
}

// Wait waits until done says yes to the webhooks so far, without repetitions.
func (r *Receiver) Wait(ctx context.Context, done func([]Delivery) bool) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if done(r.First()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for webhooks: %w (%d arrived)", ctx.Err(), len(r.First()))
		}
	}
}

// WaitCount waits until so many different webhooks have arrived.
func (r *Receiver) WaitCount(ctx context.Context, count int) error {
	return r.Wait(ctx, func(deliveries []Delivery) bool { return len(deliveries) >= count })
}

// Close stops the receiver.
func (r *Receiver) Close() { _ = r.server.Close() } // nothing is left to do when this fails
