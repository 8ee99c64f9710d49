package replica

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// tellInterval is the least time between two notifications of one process. A notification takes, at its commit, a lock that all of
	// the server's databases share (https://www.postgresql.org/docs/15/sql-notify.html); so what is to be told is told together, beside
	// the transactions that it is about and after their commits. Eight writers of small rows lose 0.4 of their throughput to a notification
	// in each transaction, and nothing that can be measured to those beside.
	tellInterval = 10 * time.Millisecond
	// maxSubjects is how many subjects of one topic are told of at once; if there are more, it may be any.
	maxSubjects = 200
	// maxPayload is below the server's limit of 8,000 bytes.
	maxPayload = 7_000

	notifySQL = `SELECT pg_notify($1, $2)`
)

// subjects are what is to be told of a topic; "" stands for all.
type subjects map[string]struct{}

// Tell tells the other processes, soon and without waiting for it, that there is something new of a topic that is on disk already. The
// subject says what, as far as that helps: identifiers of at most 128 characters without spaces, never anything of a person; it may be
// "".
func (r *Replica) Tell(topic, subject string) {
	if r == nil || r.fellows.Load() == 0 {
		return // nobody listens, or does not yet: a process begins by looking for itself
	}
	r.mu.Lock()
	of := r.untold[topic]
	if of == nil {
		of = make(subjects)
		r.untold[topic] = of
	}
	if len(of) >= maxSubjects {
		clear(of)
		subject = ""
	}
	if _, all := of[""]; !all {
		of[subject] = struct{}{}
	}
	r.mu.Unlock()
	select {
	case r.tell <- struct{}{}:
	default:
	}
}

// tellAll tells what there is to tell until ctx ends.
func (r *Replica) tellAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.tell:
		}
		r.mu.Lock()
		untold := r.untold
		r.untold = make(map[string]subjects, len(untold))
		r.mu.Unlock()
		for _, payload := range payloads(r.holder, untold) {
			r.notify(ctx, payload)
		}
		if !clock.Wait(ctx, r.Clock, tellInterval, nil) {
			return
		}
	}
}

// notify sends one notification. One that fails is not sent again: the poll finds what it was about.
func (r *Replica) notify(ctx context.Context, payload string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var none any
	if err := r.DB.Reader().QueryRowContext(ctx, notifySQL, r.channel(), payload).Scan(&none); err != nil {
		if ctx.Err() == nil {
			r.Logger.LogAttrs(ctx, slog.LevelInfo, "other processes could not be told of work", slog.String("store", r.Store),
				slog.String("error", err.Error()))
		}
		return
	}
	r.metrics.told.Inc()
}

// payloads are the texts of notifications: the teller, and then a topic, or topic/subject, each after a space.
func payloads(holder string, untold map[string]subjects) (all []string) {
	text := strings.Builder{}
	flush := func() {
		if text.Len() > len(holder) {
			all = append(all, text.String())
		}
		text.Reset()
		text.WriteString(holder)
	}
	flush()
	for _, topic := range slices.Sorted(maps.Keys(untold)) {
		for _, subject := range slices.Sorted(maps.Keys(untold[topic])) {
			if text.Len()+len(topic)+len(subject)+2 > maxPayload {
				flush()
			}
			text.WriteString(" " + topic)
			if subject != "" {
				text.WriteString("/" + subject)
			}
		}
	}
	flush()
	return all
}

// heard takes a notification.
func (r *Replica) heard(payload string) {
	words := strings.Fields(payload)
	if len(words) == 0 || words[0] == r.holder {
		return // its own
	}
	r.metrics.heard.Inc()
	for _, word := range words[1:] {
		topic, subject, _ := strings.Cut(word, "/")
		for _, heard := range r.topics[topic] {
			heard(subject)
		}
	}
}

// wakeAll has every topic looked at: something may have been told that nobody heard.
func (r *Replica) wakeAll() {
	for _, all := range r.topics {
		for _, heard := range all {
			heard("")
		}
	}
}
