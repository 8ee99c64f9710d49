package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestCutOffGivesAShareOfTheTimeLeft(t *testing.T) {
	var log bytes.Buffer
	p := &process{clock: clock.System(), logger: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	within := func(ctx context.Context) time.Duration {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		return time.Until(deadline)
	}

	broken := errors.New("disk full")
	err := p.cutOff("part", 4, func(ctx context.Context) error {
		require.InDelta(t, 15*time.Minute, within(ctx), float64(time.Minute))
		return broken
	})(ctx)
	require.Equal(t, broken, err, "a failure in time is a failure")

	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err = p.cutOff("gRPC server", 2, func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})(soon)
	require.NoError(t, err, "what hangs is cut off")
	require.Contains(t, log.String(), `part="gRPC server"`)
}

func TestWorkersGraceFitsBehindWhatHangs(t *testing.T) {
	for _, drain := range []time.Duration{0, 10 * time.Second, 20 * time.Second} {
		p := &process{}
		p.options.Settings.DrainDelay = drain
		left := stopWithin - drain
		left -= left / requestsShare
		left -= left / callsShare
		require.Less(t, p.workersGrace(), left/workersShare, drain)
	}
}
