package main

import (
	"context"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/app"
	"github.com/prosa-chat/prosa/services/internal/config"
)

type backupCommand struct {
	config.Settings `embed:""`

	File string `arg:"" type:"path" help:"The new file; it must not exist."`
}

// Run copies the embedded stores, in use or not.
func (c *backupCommand) Run(ctx context.Context, s streams) error {
	if err := app.Backup(ctx, app.Options{Settings: c.Settings, Version: version}, c.File); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s holds the stores of %s and their keys: keep it as safe as these.\n", c.File, c.DataDir)
	return err
}

type restoreCommand struct {
	config.Settings `embed:""`

	File    string `arg:"" type:"existingfile" help:"What prosa backup made."`
	Replace bool   `help:"Move the stores that are there already into a folder beside them."`
}

// Run puts a copy back.
func (c *restoreCommand) Run(ctx context.Context, s streams) error {
	done, err := app.Restore(ctx, app.Options{Settings: c.Settings, Version: version}, c.File, c.Replace)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s is as it was on %s.\n", c.DataDir, done.CreateTime.Format("2006-01-02 15:04:05 MST"))
	if err == nil && done.Aside != "" {
		_, err = fmt.Fprintf(s.out, "What was there before is in %s: delete it when it is not needed.\n", done.Aside)
	}
	return err
}
