package turns

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// maxStrikes is how many final errors of one message set it aside.
	maxStrikes = 3
	minWait    = 500 * time.Millisecond
	maxWait    = 30 * time.Second
	// panicked is the reason of a message whose handling panicked here.
	panicked = "PANIC"
)

// final reports whether an error says something about the message, so that
// the same call would fail again: no such agent, a request the agent refuses,
// or a fault in its program, which a panic is too. Everything else, a missing
// permission and an unknown method included, is about the agent's service: the
// message waits until that is mended, however long it takes.
func final(code codes.Code) bool {
	switch code {
	case codes.NotFound, codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	default:
		return false
	}
}

// wait is how long to wait after the head of a thread has failed that many
// times in a row before: doubling from half a second to half a minute, ±20 %.
func wait(failures int64, r webhook.Rand) time.Duration {
	d := maxWait
	if failures < 6 {
		d = minWait << failures
	}
	return time.Duration(float64(d) * (0.8 + 0.4*r.Float64()))
}
