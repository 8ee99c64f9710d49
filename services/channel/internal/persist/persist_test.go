package persist_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/channel/internal/persist"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("store is away")

// offer persists a write that fails so often, with a clock that runs ahead.
func offer(ctx context.Context, t *testing.T, failures int, err error) (tries int, result error) {
	t.Helper()
	clk := clock.NewManual(time.Unix(0, 0))
	done := make(chan error, 1)
	go func() {
		done <- persist.Result(ctx, clk, func(context.Context) error {
			tries++
			if tries <= failures {
				return err
			}
			return nil
		})
	}()
	for {
		select {
		case result = <-done:
			return tries, result
		case <-time.After(time.Millisecond):
			clk.Advance(time.Second)
		}
	}
}

func TestResult(t *testing.T) {
	tests := []struct {
		name     string
		failures int
		err      error
		tries    int
		want     error
	}{
		{"is taken at once", 0, nil, 1, nil},
		{"is offered again", 6, errAway, 7, nil},
		{"is given up in the end", 7, errAway, 7, errAway},
		{"is not offered again when the lease is lost", 1, store.ErrLeaseLost, 1, store.ErrLeaseLost},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tries, err := offer(t.Context(), t, test.failures, test.err)
			require.Equal(t, test.tries, tries)
			require.ErrorIs(t, err, test.want)
		})
	}
}

func TestResultIsWrittenOnceAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tries, err := offer(ctx, t, 7, errAway)
	require.Equal(t, 1, tries)
	require.ErrorIs(t, err, errAway)
}
