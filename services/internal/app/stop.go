package app

import (
	"context"
	"log/slog"
	"time"
)

// stopWithin is how long a stop may take, the wait for balancers included:
// what is in flight is finished, what is not finished then is taken up by the
// next start.
const stopWithin = 25 * time.Second

// Nobody may take all the time, so that one that hangs leaves some to those
// that are closed after it: each gets one part in so many of what is left.
const (
	requestsShare = 4 // HTTP requests in flight
	callsShare    = 6 // gRPC calls in flight; the server takes two seconds more to cut off the rest
	workersShare  = 2 // turns and deliveries in flight
)

// workersGrace is how long turns and deliveries in flight may go on once the
// workers are told to stop. It fits into their share also when everything
// before them took all of its own.
func (p *process) workersGrace() time.Duration {
	return (stopWithin - p.options.Settings.DrainDelay) / 6
}

// stop closes everything, last started first, after a wait for balancers to
// turn away. A process that failed does not wait.
func (p *process) stop(ctx context.Context, failed bool) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	var err error
	if p.serving {
		p.ready.leave()
		p.network.SetServing("", false)
		p.logger.LogAttrs(ctx, slog.LevelInfo, "stopping")
		if !failed {
			err = p.drain()
		}
	}
	if closing := p.closers.Close(ctx); err == nil {
		err = closing
	}
	return err
}

// drain goes on serving for the time that balancers need. What fails meanwhile
// ends it.
func (p *process) drain() error {
	if p.options.Settings.DrainDelay <= 0 {
		return nil
	}
	timer := p.clock.NewTimer(p.options.Settings.DrainDelay)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case err := <-p.failed:
		return err
	}
}

// cutOff gives a stop its share of the time that is left. What was still in
// flight then is cut off, which is in the log and no failure: nothing of it
// was acknowledged, or the next start takes it up.
func (p *process) cutOff(name string, share int, stop func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		limited := ctx
		if deadline, ok := ctx.Deadline(); ok {
			left := deadline.Sub(p.clock.Now())
			var cancel context.CancelFunc
			limited, cancel = context.WithTimeout(ctx, left/time.Duration(share))
			defer cancel()
		}
		err := stop(limited)
		if err != nil && limited.Err() != nil {
			p.logger.LogAttrs(ctx, slog.LevelWarn, "stopped before everything in flight had ended",
				slog.String("part", name), slog.String("error", err.Error()))
			return nil
		}
		return err
	}
}
