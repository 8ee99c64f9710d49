package person

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/erasure"
)

const (
	// restoreBatch is how many erasures one call tells the agent.
	restoreBatch = 500
	// restoreRetry is the wait after a failure: the agent may not be there yet.
	restoreRetry = time.Second
)

// errNotRestored says that the erasures of the log were not compared with the
// stores yet, which may be older copies.
var errNotRestored = errors.New("erasures are not restored yet")

// Ready reports whether the stores are known to have nothing of who was erased.
// Without a log nobody can know.
func (s *Server) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.restored && s.Log != nil {
		return errNotRestored
	}
	return nil
}

func (s *Server) isRestored() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restored
}

// Name implements lifecycle.Worker.
func (s *Server) Name() string { return "channel-erasures" }

// Run restores the erasures, as soon as the agent can be asked, and then waits
// for the end of ctx.
func (s *Server) Run(ctx context.Context) error {
	for !s.isRestored() {
		err := s.Restore(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop
		}
		s.Logger.LogAttrs(ctx, slog.LevelWarn, "erasures could not be restored", slog.String("error", err.Error()),
			slog.Duration("retry_in", restoreRetry))
		clock.Wait(ctx, s.Clock, restoreRetry, nil)
	}
	<-ctx.Done()
	return nil
}

// Restore erases everybody again whom the log says to be erased and who is in
// one of the stores nevertheless, because an older copy of it was put back, or
// because the erasure was broken off. It is quick when there is nobody.
func (s *Server) Restore(ctx context.Context) error {
	if err := s.RestoreHere(ctx); err != nil {
		return err
	}
	entries := s.entries
	for from := 0; from < len(entries); from += restoreBatch {
		batch := entries[from:min(from+restoreBatch, len(entries))]
		records := make([]*contactsv1.ErasureRecord, len(batch))
		for i, e := range batch {
			records[i] = &contactsv1.ErasureRecord{Instance: e.Instance, Person: e.Person, CutTime: timestamppb.New(e.Cut)}
		}
		answer, err := s.Agent.RestoreErasures(ctx, &agentv1.RestoreErasuresRequest{Records: records})
		if err != nil {
			return fmt.Errorf("restore erasures of agent and contacts: %w", err)
		}
		if n := answer.GetErased(); n > 0 {
			s.Logger.LogAttrs(ctx, slog.LevelWarn, "persons who were erased had come back with older stores, and are erased again",
				slog.String("stores", "agent, contacts"), slog.Int64("persons", n))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restored = true
	return nil
}

// RestoreHere is the part of Restore that concerns this service's own store.
// Nothing of it may be answered or delivered before that has returned nil.
func (s *Server) RestoreHere(ctx context.Context) error {
	s.restoring.Lock()
	defer s.restoring.Unlock()
	if s.here {
		return nil
	}
	entries, err := s.logged(ctx)
	if err != nil {
		return err
	}
	if err := s.restoreHere(ctx, entries); err != nil {
		return fmt.Errorf("restore erasures: %w", err)
	}
	s.here, s.entries = true, entries
	return nil
}

// logged are the entries of the log, and the erasures that the store itself
// knows to be begun and not ended.
func (s *Server) logged(ctx context.Context) ([]erasure.Entry, error) {
	entries, broken, err := s.Log.Entries()
	if err != nil {
		return nil, err
	}
	if broken > 0 {
		s.Logger.LogAttrs(ctx, slog.LevelWarn, "the erasure log has lines that cannot be read: a crash broke them off, or somebody changed the file",
			slog.Int("lines", broken))
	}
	unfinished, err := s.Store.UnfinishedErasures(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range unfinished {
		entries = append(entries, erasure.Entry{Instance: r.Instance, Person: r.Person, Cut: r.Cut})
	}
	return entries, nil
}

// restoreHere erases in this service's own store. Lanes are found by whose they
// are, for the other stores may no longer know the conversations.
func (s *Server) restoreHere(ctx context.Context, entries []erasure.Entry) error {
	records := make([]erasure.Record, len(entries))
	for i, e := range entries {
		records[i] = e.Record()
	}
	missing, err := s.Store.MissingErasures(ctx, records)
	if err != nil || len(missing) == 0 {
		return err
	}
	again := make(map[personKey]map[string]int64) // what was erased of each
	for _, r := range missing {
		again[personKey{r.Instance, r.Person}] = make(map[string]int64)
		if err := s.Store.BeginErasure(ctx, r); err != nil {
			return err
		}
	}
	persons := 0
	err = erasure.Find(ctx, s.Hasher, missing, s.Store.Identifiers, func(ctx context.Context, r erasure.Record, identifier string) error {
		persons++
		return s.eraseAgain(ctx, r.Instance, identifier, again[personKey{r.Instance, r.Person}])
	})
	if err != nil {
		return err
	}
	if err := s.eraseContactsAgain(ctx, entries, again); err != nil {
		return err
	}
	for _, r := range missing {
		r.Counts = again[personKey{r.Instance, r.Person}]
		if err := s.Store.FinishErasure(ctx, r, s.Clock.Now()); err != nil {
			return err
		}
	}
	if persons > 0 {
		s.Logger.LogAttrs(ctx, slog.LevelWarn, "persons who were erased had come back with older stores, and are erased again",
			slog.String("stores", "channel"), slog.Int("persons", persons))
	}
	s.Scrubber.Scrub(ctx)
	return nil
}

// personKey is a person by the hash.
type personKey struct{ instance, person string }

// eraseAgain erases the threads of a person, and the lanes of the conversations
// that the agent or contacts have of them too.
func (s *Server) eraseAgain(ctx context.Context, instance, identifier string, counts map[string]int64) error {
	endpoints, err := s.Store.Endpoints(ctx, instance)
	if err != nil {
		return err
	}
	threads, err := s.Store.PersonThreads(ctx, instance, identifier, endpoints)
	if err != nil {
		return err
	}
	messages := make(map[string]bool)
	for _, thread := range threads {
		erased, err := s.Store.EraseThread(ctx, thread)
		if err != nil {
			return err
		}
		counts[kindMessages] += int64(len(erased.MessageIDs))
		for _, id := range erased.MessageIDs {
			messages[id] = true
		}
	}
	if err := s.Store.ForgetKeys(ctx, instance, messages); err != nil {
		return err
	}
	p := &erasing{Server: s, instance: instance, identifier: identifier, interactions: make(map[string]bool)}
	if _, err := p.ask(ctx, s.Clock.Now(), true); err != nil {
		return err
	}
	lanes, err := p.lanes(ctx, endpoints)
	if err != nil {
		return err
	}
	return s.eraseLanesAgain(ctx, lanes, counts)
}

// eraseContactsAgain erases what was sent to persons whose ids the log has.
func (s *Server) eraseContactsAgain(ctx context.Context, entries []erasure.Entry, again map[personKey]map[string]int64) error {
	owners := make(map[string]map[string]personKey) // by instance, and hash of an id
	for _, e := range entries {
		key := personKey{e.Instance, e.Person}
		if again[key] == nil {
			continue
		}
		for _, hash := range e.Contacts {
			if owners[e.Instance] == nil {
				owners[e.Instance] = make(map[string]personKey)
			}
			owners[e.Instance][hash] = key
		}
	}
	for instance, hashes := range owners {
		known := make(map[string]string) // a contact has many deliveries
		hashed := func(contactID string) string {
			if known[contactID] == "" {
				known[contactID] = s.Hasher.Contact(instance, contactID)
			}
			return known[contactID]
		}
		lanes, err := s.Store.LanesOf(ctx, instance, func(contactID string) bool { return hashes[hashed(contactID)] != personKey{} })
		if err != nil {
			return err
		}
		for _, lane := range lanes {
			if err := s.eraseLanesAgain(ctx, []store.LaneKey{lane.LaneKey}, again[hashes[hashed(lane.ContactID)]]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) eraseLanesAgain(ctx context.Context, lanes []store.LaneKey, counts map[string]int64) error {
	for _, lane := range lanes {
		deliveries, _, err := s.Store.EraseLane(ctx, lane)
		if err != nil {
			return err
		}
		counts[kindDeliveries] += deliveries
	}
	return nil
}
