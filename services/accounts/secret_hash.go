package accounts

import (
	"crypto/hmac"
	"crypto/sha256"
)

// secretHasher makes HMAC-SHA256 of secrets under a key that is not in the database: who reads the database can neither find a
// secret nor test a guess. A slow hash would add nothing, for the secrets have 256 random bits.
type secretHasher []byte

func (h secretHasher) sum(secret string) []byte {
	mac := hmac.New(sha256.New, h)
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

// matches compares in constant time.
func (h secretHasher) matches(secret string, sum []byte) bool {
	return hmac.Equal(h.sum(secret), sum)
}
