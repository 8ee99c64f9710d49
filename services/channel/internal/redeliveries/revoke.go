package redeliveries

import "github.com/prosa-chat/prosa/services/channel/internal/store"

// Revoke breaks off what is being sent again of a lane that was erased.
func (w *Worker) Revoke(lane store.LaneKey) {
	w.keeper.Revoke(func(key store.LaneKey) bool { return key == lane })
}
