package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// cost is what a message costs Prosa. Unlike a throughput it hardly depends on
// what else the machine does.
type cost struct {
	// commits is how many durable transactions it takes, in all stores; each is
	// one fsync.
	commits float64
	// cpu is how much processor time it takes, in microseconds; 0 if it cannot be
	// told from that of the load.
	cpu float64
}

// measureCost runs a load once more and looks at Prosa's metrics before and
// after.
func measureCost(ctx context.Context, operations string, l load) (cost, error) {
	before, err := readCost(ctx, operations)
	if err != nil {
		return cost{}, err
	}
	if _, err := l.run(ctx); err != nil {
		return cost{}, err
	}
	after, err := readCost(ctx, operations)
	if err != nil {
		return cost{}, err
	}
	messages := float64(l.plan.messages)
	return cost{commits: (after.commits - before.commits) / messages, cpu: (after.cpu - before.cpu) / messages}, nil
}

// readCost is what was spent since the process began.
func readCost(ctx context.Context, operations string) (cost, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, operations+"/metrics", nil)
	if err != nil {
		return cost{}, fmt.Errorf("make request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return cost{}, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return cost{}, fmt.Errorf("read metrics: %w", err)
	}
	sum := func(name string) (total float64) {
		for _, metric := range families[name].GetMetric() {
			total += metric.GetCounter().GetValue()
		}
		return total
	}
	return cost{commits: sum("prosa_store_commits_total"), cpu: 1e6 * sum("process_cpu_seconds_total")}, nil
}
