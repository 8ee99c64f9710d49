package app

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// erasureLogFile is the file of the data folder that says who was erased. It is
// no part of a backup: it is what keeps them erased when one is put back.
const erasureLogFile = "erasures.log"

// erasureLog is where erasures are kept apart from the stores; nil is nowhere.
func (p *process) erasureLog(db *sqldb.DB) (*erasure.Log, error) {
	path := p.options.Settings.ErasureLog
	if path == "" && db.Dialect() == sqldb.SQLite {
		path = filepath.Join(p.options.Settings.DataDir, erasureLogFile)
	}
	if path == "" {
		p.logger.Warn("erasures are kept in the database only: persons who were erased come back with an older backup; erasure-log prevents that")
		return nil, nil //nolint:nilnil // no log is a log that keeps nothing
	}
	return erasure.OpenLog(path)
}

// restorer is a service that looks, before its workers run, for what older
// copies of stores have brought back.
type restorer interface {
	Restore(ctx context.Context) error
}

// restoreErasures has persons who were erased erased again. A role elsewhere may
// not answer yet: the service is not ready then, and tries again by itself.
func (p *process) restoreErasures(ctx context.Context, services []service) {
	for _, service := range services {
		if r, ok := service.(restorer); ok {
			if err := r.Restore(ctx); err != nil {
				p.logger.LogAttrs(ctx, slog.LevelWarn, "erasures are not restored yet", slog.String("error", err.Error()))
			}
		}
	}
}
