// Package search puts what was said into the index of conversations, behind the turns that said it.
package search

import (
	"context"
	"log/slog"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/searchtext"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// batchSize is how many turns one transaction puts into the index at most.
	batchSize = 100
	// pollInterval is how long a turn lies before it is looked for. Nobody waits for it: what is not in the index yet is found without.
	pollInterval = 500 * time.Millisecond
	// maxPause is the longest pause between two batches.
	maxPause = time.Second
	// minBackoff and maxBackoff bound the wait after a failure; it doubles in between.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// Store is the part of the store that the worker needs.
type Store interface {
	IndexTurns(ctx context.Context, limit int, words store.Words) (int, error)
}

// Worker is the worker. The processes that share a store share its work.
type Worker struct {
	store  Store
	clock  clock.Clock
	logger *slog.Logger
}

// NewWorker returns a worker.
func NewWorker(s Store, c clock.Clock, logger *slog.Logger) *Worker {
	return &Worker{store: s, clock: c, logger: logger}
}

// Name is the worker's name.
func (w *Worker) Name() string { return "agent-search-index" }

// Run works until the context ends.
func (w *Worker) Run(ctx context.Context) error {
	backoff := minBackoff
	for ctx.Err() == nil {
		pause, err := w.runOnce(ctx)
		switch {
		case err == nil:
			backoff = minBackoff
		case ctx.Err() == nil:
			pause, backoff = backoff, min(2*backoff, maxBackoff)
			w.logger.LogAttrs(ctx, slog.LevelWarn, "turns could not be put into the search index", slog.String("error", err.Error()),
				slog.Duration("retry_in", pause))
		}
		clock.Wait(ctx, w.clock, pause, nil)
	}
	return nil
}

// runOnce puts one batch into the index, and says how long to wait before the next. Where there is more at once, the pause grows with what
// the batch took: under load that is mostly waiting for turns to be committed, which come first.
func (w *Worker) runOnce(ctx context.Context) (time.Duration, error) {
	began := w.clock.Now()
	n, err := w.store.IndexTurns(ctx, batchSize, words{})
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return pollInterval, nil
	}
	return min(store.IndexingPause(w.clock.Now().Sub(began)), maxPause), nil
}

// words are those that conversations are found by.
type words struct{}

func (words) Turn(answer, record []byte) string { return searchtext.Turn(answer, record) }

func (words) Head(conversationID, identifier string) string {
	return searchtext.Head(conversationID, identifier)
}
