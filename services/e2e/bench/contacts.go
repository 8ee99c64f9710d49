package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/e2e/internal/population"
)

// contactsFigure measures queries of contacts over very many attendances, each
// kind against the bare SQL of the same page on the same store, and pages deep
// in a walk against the first. It makes its own lines, as these are costs, not
// throughputs.
type contactsFigure struct{ attendances *int }

func (contactsFigure) title() string { return "contacts" }

const (
	contactsInstance = "bench"
	// pagesMeasured is how many pages of each kind a pair has.
	pagesMeasured = 150
	// deepPage is the page of a walk that is compared with the first.
	deepPage = 1000
)

// comparison is a line: what a thing costs over what another one does.
type comparison struct {
	name        string
	must, reach float64
	a, b        func(ctx context.Context) error // one page
	ratios      []float64
	prosa, same []float64
	reference   []float64
}

// measure asks for pages of a and b in turns A B B A, and then of a and a. The
// cost in a pair is that of the page in the middle: another process that takes
// the processor for a while makes a few pages slow, and not the figure.
func (c *comparison) measure(ctx context.Context, pairs int) error {
	if _, _, err := inTurns(ctx, c.a, c.b); err != nil { // to warm up
		return err
	}
	for range pairs {
		x, y, err := inTurns(ctx, c.a, c.b)
		if err != nil {
			return err
		}
		c.prosa, c.reference, c.ratios = append(c.prosa, x), append(c.reference, y), append(c.ratios, x/y)
	}
	for range max(3, pairs/3) {
		x, y, err := inTurns(ctx, c.a, c.a)
		if err != nil {
			return err
		}
		c.same = append(c.same, x/y)
	}
	return nil
}

// inTurns gives what a page of each of two kinds costs, in milliseconds.
func inTurns(ctx context.Context, a, b func(ctx context.Context) error) (x, y float64, err error) {
	var took [2][]float64
	for n := range 2 * pagesMeasured {
		which := n % 2
		if n%4 >= 2 {
			which = 1 - which
		}
		page := a
		if which == 1 {
			page = b
		}
		start := time.Now()
		if err := page(ctx); err != nil {
			return 0, 0, err
		}
		took[which] = append(took[which], float64(time.Since(start).Microseconds())/1000)
	}
	return median(took[0]), median(took[1]), nil
}

const comparisonHeader = "%-34s %6s %13s %6s %6s %10s %10s   %s"

func (c *comparison) String() string {
	same, void := median(c.same), ""
	if same < sameLow || same > sameHigh {
		void = " (noisy: void)"
	}
	return fmt.Sprintf("%-34s %6.2f %13s %6.2f %6.2f %8.2fms %8.2fms   %.2f%s", c.name, median(c.ratios),
		fmt.Sprintf("%.2f–%.2f", slices.Min(c.ratios), slices.Max(c.ratios)), c.must, c.reach, median(c.prosa), median(c.reference), same, void)
}

func (f contactsFigure) measure(ctx context.Context, binary string, p plan) (result, error) {
	folder, err := os.MkdirTemp("", "prosa-bench-")
	if err != nil {
		return result{}, fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary folder left behind does no harm
	settings := map[string]string{"data-dir": folder, "pprof": "true", "contacts-rate": "0", "contacts-daily": "0"}
	if p.postgres != "" {
		settings["database-url"] = p.postgres
		migrate := exec.CommandContext(ctx, binary, "migrate", "--database-url="+p.postgres, "--secret-key="+harness.SecretKey)
		if output, err := migrate.CombinedOutput(); err != nil {
			return result{}, fmt.Errorf("migrate: %w\n%s", err, output)
		}
	}
	spec := harness.Spec{Binary: binary, Settings: settings}
	key, err := makeInstance(ctx, spec)
	if err != nil {
		return result{}, err
	}
	started := time.Now()
	filled, err := f.fill(ctx, folder, p.postgres)
	if err != nil {
		return result{}, err
	}
	lines := []string{"", fmt.Sprintf("contacts: %s, made in %.0f s", filled, time.Since(started).Seconds())}

	prosa, ready, err := startOften(ctx, spec)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = prosa.Stop() }() // the figures are taken
	lines = append(lines, ready)
	rest := newQueries(prosa, key)
	defer rest.close()
	more, err := f.queries(ctx, rest, folder, p)
	if err != nil {
		return result{}, err
	}
	if p.profiles != "" {
		if err := profile(ctx, prosa.Metrics, profiledPages(rest.page(query{})), filepath.Join(p.profiles, "contacts.pprof")); err != nil {
			return result{}, err
		}
	}
	memory, err := resident(prosa.PID())
	if err != nil {
		return result{}, err
	}
	return result{table: strings.Join(append(append(lines, more...), memory), "\n")}, nil
}

// makeInstance makes the stores and an instance, and gives a key of it. Prosa
// has stopped then.
func makeInstance(ctx context.Context, spec harness.Spec) (key string, err error) {
	prosa, err := harness.Start(ctx, spec)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, prosa.Stop()) }()
	management := harness.NewClient(prosa.HTTP)
	defer management.Close()
	setup, err := management.Create(ctx, contactsInstance, harness.Echo, "http://127.0.0.1:9/", false)
	return setup.Key, err
}

// fill makes the attendances, and a neighbour who has the same people.
func (f contactsFigure) fill(ctx context.Context, folder, postgres string) (population.Filled, error) {
	specs := []population.Spec{
		{Instance: "neighbour", Seed: 2, Attendances: max(1, *f.attendances/50), Items: 20},
		{Instance: contactsInstance, Seed: 1, Attendances: *f.attendances, Items: 20},
	}
	if postgres != "" {
		return population.FillPostgres(ctx, postgres, specs...)
	}
	return population.FillSQLite(ctx, filepath.Join(folder, "contacts.db"), specs...)
}

// startOften measures how long it takes until Prosa is ready, and leaves the
// last one running.
func startOften(ctx context.Context, spec harness.Spec) (*harness.Process, string, error) {
	var seconds []float64
	for n := 0; ; n++ {
		start := time.Now()
		prosa, err := harness.Start(ctx, spec)
		if err != nil {
			return nil, "", err
		}
		seconds = append(seconds, time.Since(start).Seconds())
		if n == 6 {
			return prosa, fmt.Sprintf("start to ready: %.2f s (%.2f–%.2f); must 2, reach 0.5",
				median(seconds), slices.Min(seconds), slices.Max(seconds)), nil
		}
		if err := prosa.Stop(); err != nil {
			return nil, "", err
		}
	}
}

// profiledPages is the load of a profile.
type profiledPages func(ctx context.Context) error

func (page profiledPages) run(ctx context.Context) (perSecond float64, err error) {
	start := time.Now()
	for range pagesMeasured {
		if err := page(ctx); err != nil {
			return 0, err
		}
	}
	return pagesMeasured / time.Since(start).Seconds(), nil
}

// resident is what memory a process has after all.
func resident(pid int) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", fmt.Errorf("read memory of process: %w", err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return "resident memory after all this: " + strings.TrimSpace(rest), nil
		}
	}
	return "", errors.New("read memory of process: it is not said")
}
