package retention

import "context"

// RunOnce does what the worker does at each interval.
func RunOnce(ctx context.Context, w *Worker) error { return w.runOnce(ctx) }
