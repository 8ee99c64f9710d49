// Package apikey is the form of an instance's API key: psk_<id>_<secret><checksum>. The prefix lets scanners find leaked keys,
// the id lets the store find the key, the secret proves it, and the checksum refuses typing mistakes and guesses without asking
// the store.
package apikey

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"

	"github.com/prosa-chat/prosa/services/internal/id"
)

const (
	// Prefix begins every key.
	Prefix = "psk_"
	// SecretBytes is the entropy of a secret: 256 bits.
	SecretBytes = 32

	alphabet       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	secretLength   = 43 // the digits of 2^256-1 in base 62
	checksumLength = 6  // the digits of 2^32-1 in base 62
	// Length is the number of characters of a key.
	Length = len(Prefix) + id.Length + 1 + secretLength + checksumLength
)

// ErrMalformed says that a text is not a key: wrong form or wrong checksum. It never holds the text.
var ErrMalformed = errors.New("malformed API key")

// Key is a key in its parts. It must not be logged; its String and GoString methods give only the id.
type Key struct {
	// ID is the key's identifier, 24 lower-case hexadecimal digits. It is no secret.
	ID string
	// Secret is 43 characters of base 62. Only a keyed hash of it is ever stored.
	Secret string
}

// Generate makes a key with a new secret. A nil random is crypto/rand. It panics if the source of randomness fails, as a
// guessable key is worse than a request that fails, and if id is not one.
func Generate(keyID string, random io.Reader) Key {
	if !id.Valid(keyID) {
		panic("generate API key: not an id")
	}
	if random == nil {
		random = rand.Reader
	}
	var secret [SecretBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		panic(fmt.Errorf("read randomness for an API key: %w", err))
	}
	return Key{ID: keyID, Secret: encode(secret[:])}
}

// Parse takes a key apart and verifies its checksum, without any store. Errors: ErrMalformed.
func Parse(text string) (Key, error) {
	if len(text) != Length || !strings.HasPrefix(text, Prefix) {
		return Key{}, ErrMalformed
	}
	body := text[len(Prefix):]
	key := Key{ID: body[:id.Length], Secret: body[id.Length+1 : id.Length+1+secretLength]}
	if !id.Valid(key.ID) || body[id.Length] != '_' || strings.Trim(key.Secret, alphabet) != "" {
		return Key{}, ErrMalformed
	}
	if subtle.ConstantTimeCompare([]byte(key.checksum()), []byte(body[id.Length+1+secretLength:])) != 1 {
		return Key{}, ErrMalformed
	}
	return key, nil
}

// Reveal is the whole key as its owner uses it.
func (k Key) Reveal() string { return k.signed() + k.checksum() }

// String is safe to print.
func (k Key) String() string { return Prefix + k.ID + "_***" }

// GoString is safe to print.
func (k Key) GoString() string { return k.String() }

func (k Key) signed() string { return Prefix + k.ID + "_" + k.Secret }

// checksum is CRC-32 (IEEE) over everything before it, in base 62. It guards against mistakes, not against forgers.
func (k Key) checksum() string {
	rest := crc32.ChecksumIEEE([]byte(k.signed()))
	var digits [checksumLength]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = alphabet[rest%uint32(len(alphabet))]
		rest /= uint32(len(alphabet))
	}
	return string(digits[:])
}

// encode writes the secret in base 62, with leading zeros.
func encode(secret []byte) string {
	rest, base, digit := new(big.Int).SetBytes(secret), big.NewInt(int64(len(alphabet))), new(big.Int)
	var digits [secretLength]byte
	for i := len(digits) - 1; i >= 0; i-- {
		rest.DivMod(rest, base, digit)
		digits[i] = alphabet[digit.Int64()]
	}
	return string(digits[:])
}
