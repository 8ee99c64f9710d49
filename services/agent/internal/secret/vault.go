// Package secret keeps what agents need to call other systems: keys and tokens that definitions name and never hold.
package secret

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// MaxSecrets is how many secrets an instance may have.
const MaxSecrets = 100

// scopeList names the method in page tokens.
const scopeList = agentv1.SecretService_ListSecrets_FullMethodName

// ErrMissing says that there is no such secret.
var ErrMissing = errors.New("no such secret")

// Store is the part of the store that secrets need.
type Store interface {
	SetSecret(ctx context.Context, instance, name string, sealed []byte, limit int, now time.Time) (*store.Secret, error)
	DeleteSecret(ctx context.Context, instance, name string) error
	SealedSecret(ctx context.Context, instance, name string) ([]byte, error)
	ListSecrets(ctx context.Context, instance, after string, limit int) ([]store.Secret, error)
}

// Vault keeps secrets. It is safe for concurrent use. Its errors may be sent as they are, but those of Secret.
type Vault struct {
	store  Store
	clock  clock.Clock
	box    *secretbox.Box
	tokens *pagetoken.Codec
	known  *known
}

// NewVault returns a vault.
func NewVault(s Store, c clock.Clock, box *secretbox.Box, tokens *pagetoken.Codec) *Vault {
	return &Vault{store: s, clock: c, box: box, tokens: tokens, known: newKnown()}
}

// Set makes a secret, or gives it another value. Errors: SECRET_LIMIT_REACHED.
func (v *Vault) Set(ctx context.Context, instance, name, value string) (*agentv1.Secret, error) {
	sealed, err := v.box.Seal([]byte(value), place(instance, name))
	if err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("seal secret: %w", err))
	}
	stored, err := v.store.SetSecret(ctx, instance, name, sealed, MaxSecrets, v.clock.Now())
	v.known.drop(instance, name) // also when it failed: it may have been stored nonetheless
	if errors.Is(err, store.ErrFull) {
		return nil, rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_SECRET_LIMIT_REACHED,
			"the instance has as many secrets as it may have", "limit", strconv.Itoa(MaxSecrets))
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return toProto(stored), nil
}

// List gives a page of the secrets of an instance by their names, and the token of the next; empty at the end. Errors: REQUEST_INVALID
// for a token that is not this list's.
func (v *Vault) List(ctx context.Context, instance string, pageSize int32, token string) ([]*agentv1.Secret, string, error) {
	after := ""
	if token != "" {
		payload, err := v.tokens.Decode(token, instance, scopeList)
		if err != nil {
			return nil, "", rpcerr.Invalid(pagetoken.Violation("pageToken", err))
		}
		after = string(payload)
	}
	size := pagetoken.Size(pageSize)
	// One more than asked for tells whether there is a next page.
	found, err := v.store.ListSecrets(ctx, instance, after, size+1)
	if err != nil {
		return nil, "", rpcerr.FromStore(err)
	}
	next := ""
	if len(found) > size {
		found = found[:size]
		next = v.tokens.Encode(instance, scopeList, []byte(found[size-1].Name))
	}
	secrets := make([]*agentv1.Secret, len(found))
	for i := range found {
		secrets[i] = toProto(&found[i])
	}
	return secrets, next, nil
}

// Delete forgets a secret. Errors: SECRET_NOT_FOUND.
func (v *Vault) Delete(ctx context.Context, instance, name string) error {
	if !storable(instance, name) {
		return notFound(name)
	}
	err := v.store.DeleteSecret(ctx, instance, name)
	v.known.drop(instance, name)
	if errors.Is(err, store.ErrNotFound) {
		return notFound(name)
	}
	if err != nil {
		return rpcerr.FromStore(err)
	}
	return nil
}

// Secret is the value of a secret, at most Age old. Errors: ErrMissing, those of the store and of secretbox. The value is in no error.
func (v *Vault) Secret(ctx context.Context, instance, name string) (string, error) {
	now := v.clock.Now()
	if value, ok := v.known.get(instance, name, now); ok {
		return value, nil
	}
	if !storable(instance, name) {
		return "", ErrMissing
	}
	mark := v.known.mark()
	sealed, err := v.store.SealedSecret(ctx, instance, name)
	if errors.Is(err, store.ErrNotFound) {
		return "", ErrMissing
	}
	if err != nil {
		return "", err
	}
	value, err := v.box.Open(sealed, place(instance, name))
	if err != nil {
		return "", fmt.Errorf("open secret: %w", err)
	}
	v.known.put(mark, instance, name, string(value), now)
	return string(value), nil
}

// place is what a sealed value belongs to: copied to another row it does not open. Neither slugs nor names have a slash.
func place(instance, name string) string { return "agent/secret/" + instance + "/" + name }

// storable keeps from the store what one engine would not take as text.
func storable(instance, name string) bool { return strings.IndexByte(instance+name, 0) < 0 }

func notFound(name string) error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_SECRET_NOT_FOUND, "no such secret", "name", name)
}

func toProto(s *store.Secret) *agentv1.Secret {
	return &agentv1.Secret{Name: s.Name, CreateTime: timestamppb.New(s.CreateTime), UpdateTime: timestamppb.New(s.UpdateTime)}
}
