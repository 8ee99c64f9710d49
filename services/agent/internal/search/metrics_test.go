package search

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

type backlogFunc func() (time.Time, error)

func (f backlogFunc) OldestUnindexed(context.Context) (time.Time, error) { return f() }

func TestAgeOfTheOldestTurnOutsideTheIndex(t *testing.T) {
	var since time.Time
	var failure error
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, RegisterMetrics(registry, backlogFunc(func() (time.Time, error) { return since, failure }), clock.NewManual(start)))
	value := func() float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		require.Equal(t, "prosa_agent_oldest_unindexed_seconds", families[0].GetName())
		return families[0].GetMetric()[0].GetGauge().GetValue()
	}
	require.Zero(t, value())
	since = start.Add(-90 * time.Second)
	require.InDelta(t, 90, value(), 0)
	failure = errors.New("store is away")
	require.True(t, math.IsNaN(value()))
	require.NoError(t, RegisterMetrics(nil, nil, nil), "nobody asks")
}
