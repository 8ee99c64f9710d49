package auth

import (
	"context"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

var errInternalOnly = rpcerr.New(codes.PermissionDenied, accountsv1.ErrorReason_ERROR_REASON_INTERNAL_ONLY,
	"this call is for Prosa's own services")

// Identify says who makes a call of the given access, and that their kind may: everything that can be told before the request
// is read. internal says that the transport vouches for the caller as one of Prosa's services. What the key's instance allows
// is then up to Admit.
//
// Errors: CREDENTIALS_MISSING, CREDENTIALS_MALFORMED, API_KEY_INVALID (UNAUTHENTICATED); SCOPE_MISSING, INTERNAL_ONLY
// (PERMISSION_DENIED); the verifier's UNAVAILABLE.
func Identify(ctx context.Context, verifier Verifier, access accountsv1.Access, internal bool) (Principal, error) {
	switch access {
	case accountsv1.Access_ACCESS_OPEN:
		return Principal{Internal: internal}, nil
	case accountsv1.Access_ACCESS_INTERNAL:
		if !internal {
			return Principal{}, errInternalOnly
		}
		return Principal{Internal: true}, nil
	case accountsv1.Access_ACCESS_ROOT:
		return withScope(ctx, verifier, access, scopeRoot)
	case accountsv1.Access_ACCESS_MANAGE:
		return withScope(ctx, verifier, access, ScopeManage)
	case accountsv1.Access_ACCESS_CONTACTS_READ:
		return withScope(ctx, verifier, access, ScopeContactsRead)
	case accountsv1.Access_ACCESS_CONVERSATIONS:
		principal, err := withScope(ctx, verifier, access, ScopeConversations)
		if err == nil && principal.Root {
			// The key decides the instance here, and the root key has none.
			return Principal{}, scopeMissing(ScopeConversations)
		}
		return principal, err
	case accountsv1.Access_ACCESS_UNSPECIFIED:
	}
	// An RPC whose contract does not say who may call it, nobody may.
	return Principal{}, errInternalOnly
}

// Admit keeps a key inside its instance. On a management call the rest of the world does not exist (INSTANCE_NOT_FOUND); on the
// contacts surface a key of another instance is a wrong key (API_KEY_INVALID), so that nobody can probe for names.
func Admit(principal Principal, access accountsv1.Access, request any) error {
	if principal.Root {
		return nil
	}
	switch access {
	case accountsv1.Access_ACCESS_MANAGE:
		if named := instanceOf(request); named == "" || named != principal.Instance {
			return instanceNotFound(named)
		}
	case accountsv1.Access_ACCESS_CONTACTS_READ:
		if named := instanceOf(request); named == "" || named != principal.Instance {
			return errKeyInvalid
		}
	}
	return nil
}

func withScope(ctx context.Context, verifier Verifier, access accountsv1.Access, scope string) (Principal, error) {
	key, err := credential(ctx, access)
	if err != nil {
		return Principal{}, err
	}
	if !plausible(key) {
		return Principal{}, errKeyInvalid
	}
	principal, err := verifier.Verify(ctx, key)
	if err != nil {
		return Principal{}, err
	}
	if !principal.Has(scope) {
		return Principal{}, scopeMissing(scope)
	}
	// Whatever a verifier says, a key does not make a service.
	principal.Internal = false
	return principal, nil
}

func scopeMissing(scope string) *rpcerr.Error {
	return rpcerr.New(codes.PermissionDenied, accountsv1.ErrorReason_ERROR_REASON_SCOPE_MISSING, "the key may not do this", "scope", scope)
}
