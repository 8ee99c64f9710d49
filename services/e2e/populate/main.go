// Command populate fills an instance of the contacts service with attendances as they are after years, see package population:
//
//	prosa serve --data-dir data    # once, so that there is a store; make the instance, then stop it
//	go run ./services/e2e/populate -file data/contacts.db -instance loja
//
// The instance must have no attendances yet. On PostgreSQL, -postgres URL takes the place of -file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/prosa-chat/prosa/services/e2e/internal/population"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "populate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("populate", flag.ContinueOnError)
	var spec population.Spec
	flags.StringVar(&spec.Instance, "instance", "", "the instance")
	flags.Uint64Var(&spec.Seed, "seed", 1, "what decides all that is left to chance")
	flags.IntVar(&spec.Attendances, "attendances", 1_000_000, "how many attendances")
	flags.IntVar(&spec.Items, "items", 20, "about how many history items each has")
	file := flags.String("file", "", "the file contacts.db, which no process has open")
	postgres := flags.String("postgres", "", "the URL of a migrated database, instead of a file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if spec.Instance == "" || (*file == "") == (*postgres == "") || spec.Attendances < 1 || spec.Items < 2 {
		return errors.New("-instance and one of -file and -postgres are needed")
	}
	fill, target := population.FillSQLite, *file
	if *postgres != "" {
		fill, target = population.FillPostgres, *postgres
	}
	filled, err := fill(ctx, target, spec)
	if err != nil {
		return err
	}
	fmt.Println(filled)
	return nil
}
