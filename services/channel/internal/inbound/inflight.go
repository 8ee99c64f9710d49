package inbound

import "sync"

// keysInFlight are the idempotency keys whose first call this process has not
// ended. A call at another process waits in the store for the first one.
type keysInFlight struct {
	mu   sync.Mutex
	keys map[channelKey]struct{}
}

type channelKey struct{ channelID, key string }

// enter reports false if the key is in flight already.
func (k *keysInFlight) enter(key channelKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, taken := k.keys[key]; taken {
		return false
	}
	k.keys[key] = struct{}{}
	return true
}

func (k *keysInFlight) leave(key channelKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, key)
}
