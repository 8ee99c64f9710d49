// Package auth decides who is calling and whether they may: it reads the contract's access option, takes credentials from a
// call's metadata, has them verified and keeps each key inside its own instance.
package auth

import (
	"context"
	"slices"
)

// The scopes that a key can have, as the contract writes them.
const (
	ScopeContactsRead  = "contacts.read"
	ScopeConversations = "conversations"
	ScopeManage        = "manage"
)

// scopeRoot stands in the metadata of SCOPE_MISSING for what no key of an instance can have.
const scopeRoot = "root"

// Principal is who calls. The zero value is nobody: a caller of an open RPC.
type Principal struct {
	// Root says that the root key was shown: it may do everything and belongs to no instance.
	Root bool
	// Instance is the slug of the key's instance. Empty without a key, for the root key and for internal calls.
	Instance string
	// KeyID is the key's id, which is no secret. Empty as Instance is.
	KeyID string
	// Scopes is what the key may do. It is shared and must not be changed.
	Scopes []string
	// Internal says that the caller is one of Prosa's services.
	Internal bool
}

// Has reports whether the key has the scope. The root key has all.
func (p Principal) Has(scope string) bool { return p.Root || slices.Contains(p.Scopes, scope) }

type principalKey struct{}

// WithPrincipal returns a context that says who calls. Only the interceptor chain, and tests in its place, set it.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, &p)
}

// FromContext is who calls; the zero Principal when nobody was made out.
func FromContext(ctx context.Context) Principal {
	if p, ok := ctx.Value(principalKey{}).(*Principal); ok {
		return *p
	}
	return Principal{}
}
