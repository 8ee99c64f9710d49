package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/accounts"
	"github.com/prosa-chat/prosa/services/agent"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/contacts"
	"github.com/prosa-chat/prosa/services/gateway"
	"github.com/prosa-chat/prosa/services/internal/backup"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// migrations are those of each role that has a store.
var migrations = map[string]fs.FS{
	roleAccounts: accounts.Migrations(),
	roleContacts: contacts.Migrations(),
	roleAgent:    agent.Migrations(),
	roleChannel:  channel.Migrations(),
}

// storeRetry is the wait between two attempts to open a store that is not
// there yet, or not yet migrated: an operator starts things in any order.
const storeRetry = time.Second

// storeOptions are those of a role's store.
func storeOptions(s *config.Settings, role string, c clock.Clock, logger *slog.Logger, metrics prometheus.Registerer) sqldb.Options {
	return sqldb.Options{
		Service:     role,
		DataDir:     s.DataDir,
		DatabaseURL: s.DatabaseURL,
		Migrations:  migrations[role],
		Clock:       c,
		Logger:      logger,
		Metrics:     metrics,
	}
}

// openStore opens a role's store, again and again while it is out of reach or
// its schema is old, and meanwhile says so in the readiness. Everything else,
// as a data folder in use, is an error.
func openStore(ctx context.Context, options sqldb.Options, ready *readiness) (*sqldb.DB, error) {
	if options.DatabaseURL == "" {
		if err := backup.Check(options.DataDir); err != nil {
			return nil, fmt.Errorf("open store of %s: %w", options.Service, err)
		}
	}
	for {
		db, err := sqldb.Open(ctx, options)
		if err == nil {
			ready.settle(options.Service)
			return db, nil
		}
		if !errors.Is(err, sqldb.ErrUnavailable) && !errors.Is(err, sqldb.ErrSchemaOld) {
			return nil, fmt.Errorf("open store of %s: %w", options.Service, err)
		}
		if ready.lack(storeProblem(options.Service, err)) {
			options.Logger.LogAttrs(ctx, slog.LevelWarn, "waiting for a store", slog.String("store", options.Service), slog.Any("error", err))
		}
		if !clock.Wait(ctx, options.Clock, storeRetry, nil) {
			return nil, fmt.Errorf("open store of %s: %w", options.Service, context.Cause(ctx))
		}
	}
}

// storeProblem says what is wrong with a store that does not open, without
// the cause, which names hosts.
func storeProblem(role string, err error) gateway.Problem {
	if errors.Is(err, sqldb.ErrSchemaOld) {
		return gateway.Problem{Component: role, Missing: "the store's schema is older than this program", Remedy: "prosa migrate"}
	}
	return gateway.Problem{Component: role, Missing: errNoStore.Error()}
}

// Migrate brings the store of every role to this program's schema.
func Migrate(ctx context.Context, o Options) error {
	if err := o.Settings.Validate(); err != nil {
		return err
	}
	logger, err := newLogger(o)
	if err != nil {
		return err
	}
	for _, role := range roles {
		if migrations[role] == nil {
			continue
		}
		if err := sqldb.Migrate(ctx, storeOptions(&o.Settings, role, clock.System(), logger, nil)); err != nil {
			return fmt.Errorf("migrate store of %s: %w", role, err)
		}
		logger.LogAttrs(ctx, slog.LevelInfo, "store is at this program's schema", slog.String("store", role))
	}
	return nil
}
