// Command prosa is the whole of Prosa in one binary: every role, the tools to
// run it, and the tools to try it out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // instances name time zones; a bare machine may know none

	"github.com/alecthomas/kong"

	"github.com/prosa-chat/prosa/services/internal/config"
)

// commands is the command line: one field a command.
type commands struct {
	Config kong.ConfigFlag `help:"YAML file of settings; flags and environment variables win." placeholder:"FILE"`

	Demo        demoCommand        `cmd:"" help:"Show an example, with everything in one process or with a gateway elsewhere, and say what to try."`
	Serve       serveCommand       `cmd:"" help:"Run roles: gateway, accounts, channel, contacts, agent; all when none is named."`
	Migrate     migrateCommand     `cmd:"" help:"Bring the stores to this binary's schema."`
	Backup      backupCommand      `cmd:"" help:"Copy the embedded stores to a file, also while they are in use."`
	Restore     restoreCommand     `cmd:"" help:"Put a copy that backup made back."`
	Listen      listenCommand      `cmd:"" help:"Run a webhook receiver for trying things out."`
	Agent       agentCommand       `cmd:"" help:"Work on agent definitions."`
	Chat        chatCommand        `cmd:"" help:"Talk to an agent in the terminal."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running process for its health; exit 0 or 1."`
	ConfigShow  configCommand      `cmd:"" name:"config" help:"Print the effective settings, secrets masked."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// exitCode ends the process with a code and no further word.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func main() {
	spaceCollections()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // who asks a second time does not want to wait
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it: 0 is success, 1 a failure, 2 a
// command line that cannot be understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var cli commands
	parser, err := kong.New(&cli,
		kong.Name("prosa"),
		kong.Description("A self-hosted back end for conversations."),
		kong.DefaultEnvars(config.EnvPrefix),
		kong.Configuration(config.YAML),
		kong.Writers(stdout, stderr),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{stdout, stderr}),
	)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "prosa:", err)
		return 2
	}
	command, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "prosa:", err)
		return 2
	}
	err = command.Run()
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	default:
		_, _ = fmt.Fprintln(stderr, "prosa:", err)
		return 1
	}
}

// streams are where commands write.
type streams struct{ out, err io.Writer }
