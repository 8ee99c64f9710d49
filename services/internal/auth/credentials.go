package auth

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// The metadata in which keys and tokens come.
const (
	authorizationHeader = "authorization"
	apiKeyHeader        = "x-api-key"
	bearerScheme        = "bearer"
)

var (
	errMissing   = rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING, "the call carries no key")
	errMalformed = rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_CREDENTIALS_MALFORMED,
		"the authorization of the call is not a bearer token")
	errKeyInvalid = rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID,
		"the key is not valid")
)

// BearerToken is the token of the call's authorization metadata (RFC 6750), empty when there is none or it has another scheme.
// It is what open RPCs that carry their own token look at.
func BearerToken(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, authorizationHeader)
	if len(values) != 1 {
		return ""
	}
	token, _ := cutBearer(values[0])
	return token
}

// credential is the key that the call carries. The surface whose clients send x-api-key looks there first, so that an
// authorization that some proxy added does no harm; all others look at authorization first.
func credential(ctx context.Context, access accountsv1.Access) (string, error) {
	if access == accountsv1.Access_ACCESS_CONTACTS_READ {
		if key, ok := apiKey(ctx); ok {
			return key, nil
		}
	}
	values := metadata.ValueFromIncomingContext(ctx, authorizationHeader)
	if len(values) > 1 {
		return "", errMalformed
	}
	if len(values) == 1 && strings.TrimSpace(values[0]) != "" {
		token, ok := cutBearer(values[0])
		if !ok {
			return "", errMalformed
		}
		return token, nil
	}
	if key, ok := apiKey(ctx); ok {
		return key, nil
	}
	return "", errMissing
}

// apiKey is the one key in x-api-key; false when there is none. Two are as good as a wrong one.
func apiKey(ctx context.Context) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, apiKeyHeader)
	switch len(values) {
	case 0:
		return "", false
	case 1:
		key := strings.TrimSpace(values[0])
		return key, key != ""
	default:
		return strings.Join(values, ","), true
	}
}

// cutBearer takes the token out of "Bearer <token>"; the scheme's case does not matter (RFC 9110, section 11.1).
func cutBearer(value string) (string, bool) {
	scheme, token, found := strings.Cut(strings.TrimSpace(value), " ")
	token = strings.TrimSpace(token)
	if !found || token == "" || !strings.EqualFold(scheme, bearerScheme) {
		return "", false
	}
	return token, true
}
