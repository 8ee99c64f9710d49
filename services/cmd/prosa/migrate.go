package main

import (
	"context"

	"github.com/prosa-chat/prosa/services/internal/app"
	"github.com/prosa-chat/prosa/services/internal/config"
)

type migrateCommand struct {
	config.Settings `embed:""`
}

// Run brings every service's store to this binary's schema.
func (c *migrateCommand) Run(ctx context.Context, s streams) error {
	return app.Migrate(ctx, app.Options{Settings: c.Settings, Version: version, Log: s.err, Terminal: isTerminal(s.err)})
}
