package main

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// commitsMetric counts the durable transactions of each store.
const commitsMetric = "prosa_store_commits_total"

// commitsPerMessage runs a load once more and gives how many durable
// transactions a message cost.
func commitsPerMessage(ctx context.Context, operations string, l load) (float64, error) {
	before, err := commits(ctx, operations)
	if err != nil {
		return 0, err
	}
	if _, err := l.run(ctx); err != nil {
		return 0, err
	}
	after, err := commits(ctx, operations)
	if err != nil {
		return 0, err
	}
	return (after - before) / float64(l.plan.messages), nil
}

// commits is the count so far over all stores.
func commits(ctx context.Context, operations string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, operations+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	var total float64
	for _, metric := range families[commitsMetric].GetMetric() {
		total += value(metric)
	}
	return total, nil
}

func value(metric *dto.Metric) float64 { return metric.GetCounter().GetValue() }
