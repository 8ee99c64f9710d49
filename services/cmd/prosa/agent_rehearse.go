package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/prosa-chat/prosa/services/agent"
)

type agentTestCommand struct {
	File  string `arg:"" help:"The definition, as YAML or JSON."`
	Cases string `arg:"" help:"The cases, as YAML."`
}

// Run runs all cases before it ends, and prints a line a case that went as written, and for others the turns that did not, as a diff.
func (c *agentTestCommand) Run(ctx context.Context, s streams) error {
	definition, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read definition: %w", err)
	}
	cases, err := os.ReadFile(c.Cases)
	if err != nil {
		return fmt.Errorf("read cases: %w", err)
	}
	if faults := agent.CheckDefinition(definition); len(faults) > 0 {
		for _, fault := range faults {
			if _, err := fmt.Fprintf(s.out, "%s:%s\n", c.File, fault); err != nil {
				return err
			}
		}
		return exitCode(1)
	}
	outcomes, err := agent.Rehearse(ctx, definition, cases)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Cases, err)
	}
	failed := 0
	for i := range outcomes {
		if len(outcomes[i].Differences) > 0 {
			failed++
		}
		if err := printOutcome(s.out, c.Cases, &outcomes[i]); err != nil {
			return err
		}
	}
	if failed == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(s.out, "%d of %d cases went otherwise\n", failed, len(outcomes)); err != nil {
		return err
	}
	return exitCode(1)
}

func printOutcome(out io.Writer, file string, o *agent.Outcome) error {
	if len(o.Differences) == 0 {
		_, err := fmt.Fprintf(out, "%s:%d: %s: ok\n", file, o.Line, o.Case)
		return err
	}
	if _, err := fmt.Fprintf(out, "%s:%d: %s: went otherwise\n", file, o.Line, o.Case); err != nil {
		return err
	}
	for _, d := range o.Differences {
		if _, err := fmt.Fprintf(out, "  turn %d, %s\n", d.Turn, d.Input); err != nil {
			return err
		}
		for _, line := range d.Lines {
			if _, err := fmt.Fprintf(out, "    %s\n", line); err != nil {
				return err
			}
		}
	}
	return nil
}
