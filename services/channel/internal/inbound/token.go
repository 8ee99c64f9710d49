package inbound

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"strings"

	"google.golang.org/grpc/metadata"
)

// Tokens hashes and checks inbound tokens.
type Tokens struct{ secret []byte }

// NewTokens returns the hashes under a key of 32 bytes that stays the same for
// the life of the installation.
func NewTokens(secret []byte) Tokens { return Tokens{secret: secret} }

// Hash is what is stored of a channel's token.
func (t Tokens) Hash(instance, channelID, token string) []byte {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte(instance + "/" + channelID + "/"))
	mac.Write([]byte(token))
	return mac.Sum(nil)
}

// fits reports, in a time that tells nothing, whether the token is the one of the hash.
func (t Tokens) fits(instance, channelID, token string, hash []byte) bool {
	return hmac.Equal(t.Hash(instance, channelID, token), hash)
}

// bearer is the token in a call's `authorization: Bearer <token>` (RFC 6750,
// section 2.1), or "".
func bearer(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
