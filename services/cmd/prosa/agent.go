package main

import (
	"fmt"
	"os"

	"github.com/prosa-chat/prosa/services/agent"
)

type agentCommand struct {
	Check agentCheckCommand `cmd:"" help:"Report every fault of agent definitions; exit 1 when there are any."`
	Test  agentTestCommand  `cmd:"" help:"Run conversations written as cases against an agent definition; exit 1 when one goes otherwise."`
}

type agentCheckCommand struct {
	Files []string `arg:"" name:"file" help:"Definitions to check, as YAML or JSON."`
}

// Run checks every file before it ends, and prints a line a fault:
// file:line:column: field: reason.
func (c *agentCheckCommand) Run(s streams) error {
	bad := false
	for _, file := range c.Files {
		source, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read definition: %w", err)
		}
		faults := agent.CheckDefinition(source)
		for _, fault := range faults {
			bad = true
			if _, err := fmt.Fprintf(s.out, "%s:%s\n", file, fault); err != nil {
				return err
			}
		}
		if len(faults) == 0 {
			if _, err := fmt.Fprintf(s.out, "%s: ok\n", file); err != nil {
				return err
			}
		}
	}
	if bad {
		return exitCode(1)
	}
	return nil
}
