// Package contacts is the service that remembers: people and what is known about them, their attendances, what was said in them,
// and events. It records what the agent service reports, takes over what other systems have, and finds attendances and events for the
// documented contacts surface.
package contacts

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/retention"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

// Config is what the operator decides: nothing yet.
type Config struct{}

// Instances tells what an instance is like. auth.Instances is one.
type Instances interface {
	// Get is the instance with the slug, not to be changed. Errors: INSTANCE_NOT_FOUND, UNAVAILABLE.
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Deps is what the service works with. All are required unless they say otherwise.
type Deps struct {
	// DB is the service's own store, open, with Migrations.
	DB    *sqldb.DB
	Clock clock.Clock
	IDs   *id.Source
	// Box gives the key for page tokens.
	Box       *secretbox.Box
	Instances Instances
	// Logger gets what no caller is told. Nil discards.
	Logger *slog.Logger
	// Metrics gets the prosa_contacts_… metrics. Nil keeps them to the service.
	Metrics prometheus.Registerer
}

// Service is the contacts service.
type Service struct {
	store       *store.Store
	records     *recordServer
	contacts    *contactsServer
	attendances *attendanceServer
	persons     *personServer
	workers     []lifecycle.Worker
}

// Migrations are the steps of the schema of the service's store.
func Migrations() fs.FS { return store.Migrations() }

// New puts the service together; it starts nothing. It fails when a metric is registered already.
func New(_ Config, deps Deps) (*Service, error) {
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of contacts: %w", err)
	}
	db, extents, picks := store.New(deps.DB), newExtentCache(), newPicks()
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	hasher, located := erasure.NewHasher(deps.Box), &places{instances: deps.Instances}
	scrubber := erasure.NewScrubber("contacts", deps.DB, deps.Clock, deps.Logger)
	keeper, err := retention.NewWorker(retention.Deps{
		Service: "contacts", DB: deps.DB, Store: db, Instances: deps.Instances, Clock: deps.Clock, Logger: deps.Logger, Holder: holder(deps),
		Kinds: []string{store.KindContacts, store.KindAttributes, store.KindAttendances, store.KindTurns, store.KindEvents},
		Slack: retentionSlack, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("register metrics of contacts: %w", err)
	}
	return &Service{
		store:   db,
		records: &recordServer{store: db, ids: deps.IDs, hasher: hasher, metrics: m},
		contacts: &contactsServer{
			queries: &queries{store: db, extents: extents, picks: picks, maxHistoryBytes: maxHistoryBytes},
			events:  &eventQueries{store: db, extents: extents, picks: picks, maxBytes: maxHistoryBytes},
			pages:   pagetoken.New(deps.Box.Derive("contacts/pagetoken"), deps.Clock),
			places:  located,
			metrics: m,
		},
		attendances: &attendanceServer{store: db, instances: deps.Instances, ids: deps.IDs, metrics: m},
		persons:     &personServer{store: db, places: located, hasher: hasher, scrubber: scrubber, clock: deps.Clock},
		workers:     []lifecycle.Worker{scrubber, keeper},
	}, nil
}

// retentionSlack is how much longer attendances are kept than an instance says: the other services delete theirs first, for a person's
// conversations are found by attendances.
const retentionSlack = 2 * time.Hour

// holder names this process among those that share the store.
func holder(deps Deps) string { return worklease.Holder(deps.DB, deps.IDs.New()) }

// Register offers the service's RPCs on a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	contactsv1.RegisterRecordServiceServer(r, s.records)
	contactsv1.RegisterContactsServiceServer(r, s.contacts)
	contactsv1.RegisterAttendanceServiceServer(r, s.attendances)
	contactsv1.RegisterPersonServiceServer(r, s.persons)
}

// Workers are what must run beside the RPCs.
func (s *Service) Workers() []lifecycle.Worker { return s.workers }

// Ready reports whether the service can answer, and if not, why.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.store.Ping(ctx); err != nil {
		return fmt.Errorf("reach store of contacts: %w", err)
	}
	return nil
}
