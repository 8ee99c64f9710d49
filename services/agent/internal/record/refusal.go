package record

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// refusedTries is how often a turn is tried that contacts says it will never take.
	refusedTries = 3
	// failedTries is how often a turn is tried at which contacts fails in a way that it does not explain: with the waits below, for
	// a quarter of an hour, in which somebody may mend it.
	failedTries = 20
	// minRetry and maxRetry bound the wait before a turn is tried again; it doubles in between.
	minRetry = time.Second
	maxRetry = time.Minute
	// codeUnreadable marks a record that this service cannot read itself.
	codeUnreadable = "UNREADABLE"
	// codeErased marks a record of an attendance that contacts does not have any more.
	codeErased = "ATTENDANCE_NOT_FOUND"
)

// isAway reports whether the failure says nothing about the turns: contacts cannot be asked now, or the recorder stops.
func isAway(err error) bool {
	switch rpcerr.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Unauthenticated, codes.PermissionDenied,
		codes.Unimplemented:
		return true
	default:
		return false
	}
}

// isRefusal reports whether contacts says that it will never take the turn.
func isRefusal(err error) bool {
	switch rpcerr.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.OutOfRange, codes.AlreadyExists:
		return true
	default:
		return false
	}
}

// failed decides about a turn that contacts did not take: later again, and its conversation with it, or never.
func (r *Recorder) failed(ctx context.Context, w *walk, turn pending, err error) error {
	limit := int64(failedTries)
	if isRefusal(err) {
		limit = refusedTries
	}
	if turn.Tries+1 >= limit {
		return r.refuse(ctx, turn.Key, rpcerr.Code(err).String())
	}
	w.hold(turn.Key)
	r.Metrics.postponed.Inc()
	retry := r.Clock.Now().Add(min(minRetry<<min(turn.Tries, 10), maxRetry))
	return r.checkLease(r.Store.PostponeRecord(ctx, r.lease, turn.Key, retry))
}

// refuse sets a turn aside for good. The history of its conversation then lacks it; the log says where to look.
func (r *Recorder) refuse(ctx context.Context, key store.RecordKey, code string) error {
	if err := r.Store.RefuseRecord(ctx, r.lease, key, code, r.Clock.Now()); err != nil {
		return r.checkLease(err)
	}
	r.Metrics.refused.Inc()
	r.Logger.LogAttrs(ctx, slog.LevelError, "turn was set aside: contacts does not take it", slog.String("code", code),
		slog.String("instance", key.Instance), slog.String("conversation_id", key.ConversationID), slog.Int64("turn", key.TurnNumber))
	return nil
}
