// Command bench measures Prosa against stated references, in one run, and
// prints the ratios. Absolute figures depend on the machine and its mood; a
// ratio of two things measured in turns does not.
//
//	go run ./services/e2e/bench
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// plan is how much is measured.
type plan struct {
	pairs    int
	messages int
	senders  int
	postgres string
	profiles string
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var p plan
	flags.IntVar(&p.pairs, "pairs", 10, "pairs of measurements a figure")
	flags.IntVar(&p.messages, "messages", 20000, "messages a measurement")
	flags.IntVar(&p.senders, "senders", 64, "calls at once")
	flags.StringVar(&p.postgres, "postgres", "", "measure on this PostgreSQL (an empty database) instead of the embedded store")
	flags.StringVar(&p.profiles, "profiles", "", "write a CPU profile of Prosa under each figure's load into this folder")
	attendances := flags.Int("attendances", 1_000_000, "attendances that contacts are queried over")
	only := flags.String("only", "", "measure this figure alone")
	reference := flags.String("reference", "", "internal: be a reference (echo, relay)")
	listen := flags.String("listen", "", "internal: where the reference listens")
	target := flags.String("target", "", "internal: where the relay sends")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch *reference {
	case "echo":
		return serveEcho(ctx, *listen)
	case "relay":
		return serveRelay(ctx, *listen, *target)
	case "":
	default:
		return fmt.Errorf("no such reference: %s", *reference)
	}

	figures := []measurement{durableAccept, wholeWay, tracedWay, sampledWay, orderedLanes, overload, contactsFigure{attendances}}
	if *only != "" {
		all := figures
		figures = slices.DeleteFunc(slices.Clone(all), func(m measurement) bool { return m.title() != *only })
		if len(figures) == 0 {
			var titles []string
			for _, figure := range all {
				titles = append(titles, strconv.Quote(figure.title()))
			}
			return fmt.Errorf("no such figure: %q; there are %s", *only, strings.Join(titles, ", "))
		}
	}

	binary, remove, err := harness.Build(ctx)
	if err != nil {
		return err
	}
	defer remove()
	store := "embedded store"
	if p.postgres != "" {
		store = "PostgreSQL"
	}
	lines := []string{fmt.Sprintf("%s/%s, %d processors, %s, %s; %d pairs of %d messages by %d senders\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), store, p.pairs, p.messages, p.senders),
		fmt.Sprintf("%-16s %8s %15s %6s %6s %12s %12s %12s %11s   %s", "figure", "ratio", "range", "must", "reach", "prosa", "reference", "commits/msg", "CPU/msg", "A/A")}
	var errs []error
	for _, figure := range figures {
		result, err := figure.measure(ctx, binary, p)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", figure.title(), err))
			continue
		}
		lines = append(lines, result.String())
	}
	_, err = fmt.Fprintln(out, strings.Join(lines, "\n"))
	return errors.Join(append(errs, err)...)
}
