package main

import (
	"context"
	"fmt"
	"os"

	"github.com/prosa-chat/prosa/services/internal/app"
	"github.com/prosa-chat/prosa/services/internal/config"
)

type serveCommand struct {
	config.Settings `embed:""`

	Roles []string `arg:"" optional:"" name:"role" enum:"gateway,accounts,channel,contacts,agent" help:"Roles to run: gateway, accounts, channel, contacts, agent. Default: all."`
}

// Run serves until the process is told to stop.
func (c *serveCommand) Run(ctx context.Context, s streams) error {
	useProcessors(c.DatabaseURL == "")
	return app.Run(ctx, app.Options{
		Settings: c.Settings,
		Roles:    c.Roles,
		Version:  version,
		Log:      s.err,
		Terminal: isTerminal(s.err),
		RootKeyMade: func(key string) {
			_, _ = fmt.Fprintf(s.out, "The root key, printed this once and kept in %s/root.key:\n\n  %s\n\n", c.DataDir, key) // it is on disk
		},
	})
}

// isTerminal says that a stream is read by a person.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
