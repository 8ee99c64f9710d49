// Package accounts is the service that knows the instances and their API keys: it manages them, and tells the other services whose
// key a caller shows.
package accounts

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

// MinRootKeyLength is the least number of characters of a root key.
const MinRootKeyLength = 32

// ErrRootKeyTooShort says that the root key has fewer than MinRootKeyLength characters.
var ErrRootKeyTooShort = fmt.Errorf("root key is shorter than %d characters", MinRootKeyLength)

// Config is what the operator decides.
type Config struct {
	// RootKey may do everything. At least MinRootKeyLength characters.
	RootKey string
	// Limits are what each key may do with calls of each kind, as UsageService tells it. Those who count the calls have the same.
	Limits []KindLimits
}

// Deps is what the service works with. All are required unless they say otherwise.
type Deps struct {
	// DB is the service's own store, open, with Migrations.
	DB    *sqldb.DB
	Clock clock.Clock
	IDs   *id.Source
	// Box seals answers that hold a key, and gives the keys for hashes of secrets and for page tokens.
	Box    *secretbox.Box
	Logger *slog.Logger
	// Metrics gets the prosa_accounts_… metrics. Nil keeps them to the service.
	Metrics prometheus.Registerer
	// Random is where the secrets of keys come from. Nil is crypto/rand.
	Random io.Reader
	// Counts is where the calls of keys are counted. Nil is the service's own store.
	Counts Counts
}

// Service is the accounts service.
type Service struct {
	store      *store.Store
	management *managementServer
	identity   *identityServer
	usage      *usageServer
	meter      *meterServer
	workers    []lifecycle.Worker
}

// Migrations are the steps of the schema of the service's store.
func Migrations() fs.FS { return store.Migrations() }

// New puts the service together; it starts nothing. Errors: ErrRootKeyTooShort; a metric that is registered already.
func New(cfg Config, deps Deps) (*Service, error) {
	if len(cfg.RootKey) < MinRootKeyLength {
		return nil, ErrRootKeyTooShort
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of accounts: %w", err)
	}
	db := store.New(deps.DB, deps.Clock)
	hash := secretHasher(deps.Box.Derive("accounts/apikey"))
	pages := pagetoken.New(deps.Box.Derive("accounts/pagetoken"), deps.Clock)
	uses := &useRecorder{store: db, clock: deps.Clock, logger: deps.Logger, pending: make(map[string]store.KeyUse)}
	tenants := &instances{store: db, clock: deps.Clock}
	apiKeys := &keys{store: db, clock: deps.Clock, ids: deps.IDs, box: deps.Box, hash: hash, random: deps.Random}
	workers := []lifecycle.Worker{uses, idempotency.NewSweeper("accounts", deps.DB, deps.Clock, worklease.Holder(deps.DB, deps.IDs.New()))}
	counts := deps.Counts
	if counts == nil {
		counts = countsIn(deps.DB, deps.Clock)
	}
	if local, ok := counts.(*quota.Local); ok {
		workers = append(workers, countsCloser{counts: local})
	}
	return &Service{
		store:      db,
		management: &managementServer{instances: tenants, keys: apiKeys, pages: pages},
		identity: &identityServer{
			verifier:  newKeyVerifier(cfg.RootKey, hash, db, deps.Clock, uses),
			instances: tenants,
			metrics:   m,
		},
		usage:   &usageServer{instances: tenants, keys: apiKeys, counts: counts, limits: cfg.Limits, pages: pages, clock: deps.Clock},
		meter:   &meterServer{counts: counts},
		workers: workers,
	}, nil
}

// Register offers the service's RPCs on a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	accountsv1.RegisterAccountsServiceServer(r, s.management)
	accountsv1.RegisterIdentityServiceServer(r, s.identity)
	accountsv1.RegisterUsageServiceServer(r, s.usage)
	accountsv1.RegisterMeterServiceServer(r, s.meter)
}

// Workers are what must run beside the RPCs.
func (s *Service) Workers() []lifecycle.Worker { return s.workers }

// Ready reports whether the service can answer, and if not, why.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.store.Ping(ctx); err != nil {
		return fmt.Errorf("reach store of accounts: %w", err)
	}
	return nil
}
