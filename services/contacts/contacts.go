// Package contacts is the service that remembers: people and what is known about them, their attendances, what was said in them,
// and events. It records what the agent service reports, takes over what other systems have, and finds attendances and events for the
// documented contacts surface.
package contacts

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
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
	// Metrics gets the prosa_contacts_… metrics. Nil keeps them to the service.
	Metrics prometheus.Registerer
}

// Service is the contacts service.
type Service struct {
	store       *store.Store
	records     *recordServer
	contacts    *contactsServer
	attendances *attendanceServer
}

// Migrations are the steps of the schema of the service's store.
func Migrations() fs.FS { return store.Migrations() }

// New puts the service together; it starts nothing. It fails when a metric is registered already.
func New(_ Config, deps Deps) (*Service, error) {
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of contacts: %w", err)
	}
	db, extents := store.New(deps.DB), newExtentCache()
	return &Service{
		store:   db,
		records: &recordServer{store: db, ids: deps.IDs, metrics: m},
		contacts: &contactsServer{
			queries: &queries{store: db, extents: extents, maxHistoryBytes: maxHistoryBytes},
			events:  &eventQueries{store: db, extents: extents, maxBytes: maxHistoryBytes},
			pages:   pagetoken.New(deps.Box.Derive("contacts/pagetoken"), deps.Clock),
			places:  &places{instances: deps.Instances},
			metrics: m,
		},
		attendances: &attendanceServer{store: db, instances: deps.Instances, ids: deps.IDs, metrics: m},
	}, nil
}

// Register offers the service's RPCs on a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	contactsv1.RegisterRecordServiceServer(r, s.records)
	contactsv1.RegisterContactsServiceServer(r, s.contacts)
	contactsv1.RegisterAttendanceServiceServer(r, s.attendances)
}

// Workers are what must run beside the RPCs: nothing.
func (s *Service) Workers() []lifecycle.Worker { return nil }

// Ready reports whether the service can answer, and if not, why.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.store.Ping(ctx); err != nil {
		return fmt.Errorf("reach store of contacts: %w", err)
	}
	return nil
}
