// Package answers keeps, under the caller's idempotency key, answers that show a
// secret once: the store holds them sealed, and a repetition is answered with
// the first one.
package answers

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// Keeper seals and opens answers.
type Keeper struct {
	// Box seals them.
	Box *secretbox.Box
	// Secret keys the fingerprints of requests.
	Secret []byte
}

// Key is the record of the call's idempotency key, without its response; nil
// if the call has none. scope is the RPC. The error is REQUEST_INVALID for a
// key that cannot be one.
func (k Keeper) Key(ctx context.Context, scope string, request proto.Message) (*store.Key, error) {
	key, ok, err := idempotency.FromContext(ctx)
	if err != nil || !ok {
		return nil, err
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	return &store.Key{Scope: scope, Key: key, Fingerprint: idempotency.Fingerprint(k.Secret, string(text))}, nil
}

// Seal makes response what the key stands for. A nil key stands for nothing.
func (k Keeper) Seal(instance string, key *store.Key, response proto.Message) error {
	if key == nil {
		return nil
	}
	plain, err := proto.Marshal(response)
	if err != nil {
		return fmt.Errorf("marshal answer: %w", err)
	}
	if key.Response, err = k.Box.Seal(plain, name(instance, key)); err != nil {
		return fmt.Errorf("seal answer: %w", err)
	}
	return nil
}

// Open reads what Seal made of the key's first response.
func (k Keeper) Open(instance string, key *store.Key, sealed []byte, into proto.Message) error {
	plain, err := k.Box.Open(sealed, name(instance, key))
	if err != nil {
		return fmt.Errorf("open stored answer: %w", err)
	}
	if err := proto.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("read stored answer: %w", err)
	}
	return nil
}

// name is what a sealed answer belongs to.
func name(instance string, key *store.Key) string {
	return "channel/answer/" + instance + "/" + key.Scope + "/" + key.Key
}
