package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prosa-chat/prosa/services/internal/backup"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/config"
)

// backedUp are the roles with stores, in the order in which they are copied: each tells those behind it what it has done, and whoever is
// told twice ignores it. accounts comes last, so that no instance is unknown of which the others have something.
var backedUp = []string{roleChannel, roleAgent, roleContacts, roleAccounts}

var errNotEmbedded = errors.New("backup and restore are for the embedded store: PostgreSQL has pg_dump and its own archives")

// Backup copies the embedded stores and the keys of the data folder to a new file, while they are in use or not.
func Backup(ctx context.Context, o Options, file string) error {
	if err := checkEmbedded(&o.Settings); err != nil {
		return err
	}
	return backup.Create(ctx, backup.Source{
		DataDir: o.Settings.DataDir, Stores: backedUp, Keys: []string{rootKeyFile, secretKeyFile}, Version: o.Version,
	}, clock.System().Now(), file)
}

// Restore puts a copy that Backup made into the data folder, which nobody may use meanwhile. Stores that are there are an error, unless
// they are to be replaced: then they are moved aside.
func Restore(ctx context.Context, o Options, file string, replace bool) (backup.Restored, error) {
	if err := checkEmbedded(&o.Settings); err != nil {
		return backup.Restored{}, err
	}
	target := backup.Target{DataDir: o.Settings.DataDir, Keys: []string{rootKeyFile, secretKeyFile}, Replace: replace}
	for _, role := range backedUp {
		target.Stores = append(target.Stores, storeOptions(&o.Settings, role, clock.System(), slog.New(slog.DiscardHandler), nil))
	}
	return backup.Restore(ctx, file, target, clock.System().Now())
}

func checkEmbedded(s *config.Settings) error {
	if s.DatabaseURL != "" {
		return errNotEmbedded
	}
	return s.Validate()
}
