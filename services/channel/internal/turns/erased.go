package turns

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// personErased is the agent's answer to a message of somebody who was erased
// after it was accepted.
var personErased = rpcerr.New(0, agentv1.ErrorReason_ERROR_REASON_PERSON_ERASED, "").Reason()

// Revoke breaks off the turn of a thread that was erased.
func (w *Worker) Revoke(thread store.ThreadKey) {
	w.keeper.Revoke(func(key store.ThreadKey) bool { return key == thread })
}

// drop deletes a message of somebody who was erased while it came in, as those
// that were there before.
func (w *Worker) drop(ctx context.Context, t *store.Thread, m *store.Message) (more bool, err error) {
	if more, err = w.Store.DropErased(ctx, t.ThreadKey, t.Epoch, m.Seq); err == nil {
		w.Erased(1)
	}
	return more, err
}
