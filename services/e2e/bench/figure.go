package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// measurement is one line of the table.
type measurement interface {
	title() string
	measure(ctx context.Context, binary string, p plan) (result, error)
}

// runner is one of two things that are measured against each other. It gives
// how many messages a second went the measured way.
type runner interface {
	run(ctx context.Context) (perSecond float64, err error)
}

// figure is one ratio: the throughput of Prosa over that of a reference.
type figure struct {
	name        string
	must, reach float64
	// reference says which reference is run, see reference.go.
	reference string
	// settings are those of Prosa besides the usual.
	settings map[string]string
	// whole waits for the answers, not only for the acknowledgements.
	whole bool
}

func (f figure) title() string { return f.name }

var durableAccept = figure{
	name: "durable accept", must: 0.6, reach: 1,
	reference: "echo",
	settings:  map[string]string{"turns": "false"},
}

var wholeWay = figure{
	name: "whole way", must: 0.3, reach: 0.5,
	reference: "relay",
	whole:     true,
}

// result is what came out.
type result struct {
	figure
	ratios           []float64
	prosa, reference []float64
	same             float64
	cost             cost
	// table is the whole of a figure that makes its own lines.
	table string
}

// sameLow and sameHigh bound the ratio of two runs of the same thing: outside,
// the machine was too noisy and the figure is void.
const sameLow, sameHigh = 0.95, 1.05

// String is the figure's line of the table.
func (r result) String() string {
	if r.table != "" {
		return r.table
	}
	void := ""
	if r.same < sameLow || r.same > sameHigh {
		void = " (noisy: void)"
	}
	processor := "–"
	if r.cost.cpu > 0 {
		processor = fmt.Sprintf("%.0fµs", r.cost.cpu)
	}
	return fmt.Sprintf("%-16s %8.2f %15s %6.2f %6.2f %10.0f/s %10.0f/s %12.3f %11s   %.2f%s",
		r.name, median(r.ratios), fmt.Sprintf("%.2f–%.2f", slices.Min(r.ratios), slices.Max(r.ratios)),
		r.must, r.reach, median(r.prosa), median(r.reference), r.cost.commits, processor, r.same, void)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// measure runs Prosa (A) and the reference (B) as processes of their own, in
// turns A B B A, and then A against itself.
func (f figure) measure(ctx context.Context, binary string, p plan) (result, error) {
	receiver, err := newCounter()
	if err != nil {
		return result{}, err
	}
	defer receiver.close()

	prosa, a, stop, err := startProsa(ctx, binary, p, f.settings, receiver)
	if err != nil {
		return result{}, err
	}
	defer stop()
	referenceURL, stopReference, err := startReference(f.reference, receiver.url)
	if err != nil {
		return result{}, err
	}
	defer stopReference()

	if f.whole {
		a.receiver = receiver
	}
	b := a
	b.url = referenceURL + "/webhooks/api"
	r, err := f.alternate(ctx, p.pairs, a, b)
	if err != nil {
		return r, err
	}
	if r.cost, err = measureCost(ctx, prosa.Metrics, a); err != nil || p.profiles == "" {
		return r, err
	}
	return r, profile(ctx, prosa.Metrics, a, filepath.Join(p.profiles, strings.ReplaceAll(f.name, " ", "-")+".pprof"))
}

// startProsa starts Prosa with settings besides the usual, and returns the load
// that goes to a channel of it, until the acknowledgement.
func startProsa(
	ctx context.Context, binary string, p plan, besides map[string]string, receiver *counter,
) (prosa *harness.Process, l load, stop func(), err error) {
	folder, err := os.MkdirTemp("", "prosa-bench-")
	if err != nil {
		return nil, load{}, nil, fmt.Errorf("make folder: %w", err)
	}
	stop = func() {
		if prosa != nil {
			_ = prosa.Stop() // the figures are taken; how it ends is tested elsewhere
		}
		_ = os.RemoveAll(folder) // a temporary folder left behind does no harm
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	settings := map[string]string{"data-dir": folder, "pprof": "true"}
	maps.Copy(settings, besides)
	if p.postgres != "" {
		settings["database-url"] = p.postgres
		migrate := exec.CommandContext(ctx, binary, "migrate", "--database-url="+p.postgres, "--secret-key="+harness.SecretKey)
		if output, err := migrate.CombinedOutput(); err != nil {
			return nil, load{}, nil, fmt.Errorf("migrate: %w\n%s", err, output)
		}
	}
	if prosa, err = harness.Start(ctx, harness.Spec{Binary: binary, Settings: settings}); err != nil {
		return nil, load{}, nil, err
	}
	management := harness.NewClient(prosa.HTTP)
	defer management.Close()
	setup, err := management.Create(ctx, fmt.Sprintf("bench-%d", time.Now().UnixNano()), harness.Echo, receiver.url, false)
	if err != nil {
		return nil, load{}, nil, err
	}
	return prosa, load{url: prosa.HTTP + "/webhooks/api", channelID: setup.ChannelID, plan: p}, stop, nil
}

// alternate measures a against b in turns A B B A.
func (f figure) alternate(ctx context.Context, pairs int, a, b runner) (result, error) {
	r := result{figure: f}
	once := func(l runner) (float64, error) { return l.run(ctx) }
	for _, l := range []runner{a, b} { // warm up
		if _, err := once(l); err != nil {
			return r, err
		}
	}
	for pair := range pairs {
		first, second := a, b
		if pair%2 == 1 {
			first, second = b, a
		}
		x, err := once(first)
		if err != nil {
			return r, err
		}
		y, err := once(second)
		if err != nil {
			return r, err
		}
		if pair%2 == 1 {
			x, y = y, x
		}
		r.prosa, r.reference = append(r.prosa, x), append(r.reference, y)
		r.ratios = append(r.ratios, x/y)
	}
	var same []float64
	for range max(1, pairs/3) {
		x, err := once(a)
		if err != nil {
			return r, err
		}
		y, err := once(a)
		if err != nil {
			return r, err
		}
		same = append(same, x/y)
	}
	r.same = median(same)
	return r, nil
}

// startReference runs a reference as a process of its own.
func startReference(name, target string) (url string, stop func(), err error) {
	addr, err := harness.FreeAddr()
	if err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("find own binary: %w", err)
	}
	command := exec.Command(self, "-reference", name, "-listen", addr, "-target", target)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return "", nil, fmt.Errorf("start reference: %w", err)
	}
	stop = func() {
		_ = command.Process.Kill() // it is gone already when this fails
		_ = command.Wait()         // killed: the error is known
	}
	if err := awaitListener(addr); err != nil {
		stop()
		return "", nil, err
	}
	return "http://" + addr, stop, nil
}
