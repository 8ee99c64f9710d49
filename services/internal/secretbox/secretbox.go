// Package secretbox keeps secrets at rest: it seals bytes under the installation's secret key and derives further keys from it.
package secretbox

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
)

// MinKeyLength is the least number of bytes of a secret key.
const MinKeyLength = 32

const (
	keySize = 32
	// version is the first byte of everything sealed, so that a later format can be told from this one.
	version = 1
	// salt separates Prosa's keys from those of any other program that was given the same secret. HKDF (RFC 5869) needs no
	// secret salt.
	salt = "prosa/secretbox/v1"
	// sealInfo and derivePrefix cannot collide whatever purpose a caller names.
	sealInfo     = "seal"
	derivePrefix = "derive/"
)

var (
	// ErrKeyTooShort says that the secret key has fewer than MinKeyLength bytes.
	ErrKeyTooShort = fmt.Errorf("secret key is shorter than %d bytes", MinKeyLength)
	// ErrOpen says that sealed bytes were changed, cut, sealed under another key, or sealed for another context. It tells no
	// more, on purpose.
	ErrOpen = errors.New("sealed value does not open with this key and context")
)

// Box seals and opens. It is safe for concurrent use.
type Box struct {
	secret string
	aead   *subtle.XChaCha20Poly1305
}

// New returns a box for a secret key: any text of 32 bytes or more, which should hold at least 128 random bits, for example the
// output of `openssl rand -base64 32`. A shorter one is ErrKeyTooShort.
func New(secretKey string) (*Box, error) {
	if len(secretKey) < MinKeyLength {
		return nil, ErrKeyTooShort
	}
	key, err := expand(secretKey, sealInfo)
	if err != nil {
		return nil, err
	}
	aead, err := subtle.NewXChaCha20Poly1305(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &Box{secret: secretKey, aead: aead}, nil
}

// Seal encrypts plain with XChaCha20-Poly1305 and a random nonce, so sealing twice gives two different results. The context is
// authenticated and not stored: name in it what the secret belongs to, for example "channel/secret/" + instance + "/" + id, and a
// value copied to another row does not open there. The result is 41 bytes longer than plain.
func (b *Box) Seal(plain []byte, context string) ([]byte, error) {
	body, err := b.aead.Encrypt(plain, []byte(context))
	if err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	return append([]byte{version}, body...), nil
}

// Open decrypts what Seal made for the same context. Anything else is ErrOpen.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return nil, ErrOpen
	}
	plain, err := b.aead.Decrypt(sealed[1:], []byte(context))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Derive returns a key of 32 bytes for one purpose, for example "page-token". The same secret key and purpose give the same key
// on every replica and after every restart; keys of different purposes tell nothing about each other or the secret key.
func (b *Box) Derive(purpose string) []byte {
	key, err := expand(b.secret, derivePrefix+purpose)
	if err != nil {
		// HKDF fails only for lengths over 255 hashes and for short keys in FIPS-only mode, which New has met before.
		panic(err)
	}
	return key
}

func expand(secret, info string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), []byte(salt), info, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}
