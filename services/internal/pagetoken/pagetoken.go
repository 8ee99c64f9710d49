// Package pagetoken makes the opaque tokens that continue a list (AIP-158): authenticated, encrypted, bound to one instance and
// one set of filters, and good for 24 hours.
package pagetoken

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// Lifetime is how long a token is good for after it was made.
	Lifetime = 24 * time.Hour
	// MaxLength is the number of characters over which Decode refuses a token without looking at it.
	MaxLength = 2048
	// KeySize is the number of bytes of the key.
	KeySize = 32

	version    = 1
	timeLength = 8 // big endian Unix seconds of the expiry, before the payload
)

var (
	// ErrInvalid says that a token was not made here, was changed, or belongs to another instance, method or set of filters.
	ErrInvalid = errors.New("page token is invalid")
	// ErrExpired says that a token is genuine and older than Lifetime.
	ErrExpired = errors.New("page token has expired")
)

// Codec makes and reads tokens. It is safe for concurrent use. Codecs with the same key read each other's tokens, so every
// replica takes the key from the same secret.
type Codec struct {
	aead  *subtle.XChaCha20Poly1305
	clock clock.Clock
}

// New returns a codec. The key has KeySize bytes, as secretbox's Derive makes them; another size is a mistake of the program
// and panics.
func New(key []byte, c clock.Clock) *Codec {
	aead, err := subtle.NewXChaCha20Poly1305(key)
	if err != nil {
		panic(fmt.Errorf("make page token codec: %w", err))
	}
	return &Codec{aead: aead, clock: c}
}

// Encode makes a token that carries payload, usually the sort key of the last row shown. The scope names the method and its
// filters in a canonical form; neither it nor the instance is in the token, they only must be the same again. The payload cannot be
// read from the token, for it may hold a person's data. The token is URL-safe, and of MaxLength at most for a payload of 1,487
// bytes or fewer.
func (c *Codec) Encode(instance, scope string, payload []byte) string {
	plain := make([]byte, 0, timeLength+len(payload))
	plain = binary.BigEndian.AppendUint64(plain, uint64(c.clock.Now().Add(Lifetime).Unix()))
	plain = append(plain, payload...)
	sealed, err := c.aead.Encrypt(plain, binding(instance, scope))
	if err != nil {
		// Encrypt fails only for plain texts of some hundred gigabytes.
		panic(fmt.Errorf("encode page token: %w", err))
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{version}, sealed...))
}

// Decode returns the payload of a token that Encode made for the same instance and scope, or ErrInvalid, or ErrExpired.
func (c *Codec) Decode(token, instance, scope string) ([]byte, error) {
	if len(token) > MaxLength {
		return nil, ErrInvalid
	}
	// Strict and the length refuse a second spelling of the same bytes: the decoder skips line breaks.
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(token) != base64.RawURLEncoding.EncodedLen(len(sealed)) {
		return nil, ErrInvalid
	}
	if len(sealed) == 0 || sealed[0] != version {
		return nil, ErrInvalid
	}
	plain, err := c.aead.Decrypt(sealed[1:], binding(instance, scope))
	if err != nil || len(plain) < timeLength {
		return nil, ErrInvalid
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	if !c.clock.Now().Before(expires) {
		return nil, ErrExpired
	}
	return plain[timeLength:], nil
}

// binding is what a token is authenticated with. The length before the instance keeps ("a", "bc") and ("ab", "c") apart.
func binding(instance, scope string) []byte {
	h := sha256.New()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(instance)))
	h.Write(length[:])
	h.Write([]byte(instance))
	h.Write([]byte(scope))
	return h.Sum(nil)
}
