package main

import "github.com/prosa-chat/prosa/services/internal/config"

type configCommand struct {
	config.Settings `embed:""`
}

// Run prints the effective settings in the form of a configuration file.
func (c *configCommand) Run(s streams) error {
	return c.Print(s.out)
}
