package inbound

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// Tokens hashes and checks the tokens of callers: the inbound tokens of
// channels, or the tokens of integrations.
type Tokens struct{ secret []byte }

// NewTokens returns the hashes under a key of 32 bytes that stays the same for
// the life of the installation.
func NewTokens(secret []byte) Tokens { return Tokens{secret: secret} }

// Hash is what is stored of the token of a channel or an integration.
func (t Tokens) Hash(instance, id, token string) []byte {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte(instance + "/" + id + "/"))
	mac.Write([]byte(token))
	return mac.Sum(nil)
}

// Fits reports, in a time that tells nothing, whether the token is the one of the hash.
func (t Tokens) Fits(instance, id, token string, hash []byte) bool {
	return hmac.Equal(t.Hash(instance, id, token), hash)
}

// NewToken makes a token with 256 bits of secret. Its beginning tells people,
// and programs that look for leaked secrets, what it is.
func NewToken() string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: it ends the process rather
	return "pbt_" + base64.RawURLEncoding.EncodeToString(secret)
}
