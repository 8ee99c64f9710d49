package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strings"
	"sync"
)

const (
	secretPrefix  = "whsec_"
	newSecretSize = 32
	minSecretSize = 24
	maxSecretSize = 64
)

// ErrSecret is the error for text that is no signing secret.
var ErrSecret = errors.New("webhook: not a signing secret: want whsec_ and 24 to 64 bytes in base64")

// Secret is a signing secret, decoded once and ready to sign many times. It
// prints as a mask, so that it cannot reach a log by accident. It is safe for
// concurrent use. The zero Secret signs nothing and verifies nothing.
type Secret struct{ *secret }

type secret struct {
	key []byte
	// macs keeps keyed HMACs: resetting one is half the hashing of making it.
	macs sync.Pool
}

// NewSecret returns a secret of 32 bytes from random, or from the system's
// source when random is nil. Like [crypto/rand.Read] it panics if the source fails,
// because no caller could go on with a secret that can be guessed.
func NewSecret(random io.Reader) Secret {
	if random == nil {
		random = rand.Reader
	}
	key := make([]byte, newSecretSize)
	if _, err := io.ReadFull(random, key); err != nil {
		panic(fmt.Errorf("read random bytes for a signing secret: %w", err))
	}
	return newSecret(key)
}

// ParseSecret reads a secret as Reveal wrote it. Its error, [ErrSecret], holds
// nothing of text.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok || len(encoded) > base64.StdEncoding.EncodedLen(maxSecretSize) {
		return Secret{}, ErrSecret
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) < minSecretSize || len(key) > maxSecretSize {
		return Secret{}, ErrSecret
	}
	return newSecret(key), nil
}

func newSecret(key []byte) Secret {
	s := &secret{key: key}
	s.macs.New = func() any { return &signer{mac: hmac.New(sha256.New, key)} }
	return Secret{s}
}

// Reveal returns the secret in the form that its owner is shown: whsec_ and
// base64. The zero Secret is the empty text.
func (s Secret) Reveal() string {
	if s.secret == nil {
		return ""
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(s.key)
}

// IsZero reports whether s holds no key.
func (s Secret) IsZero() bool { return s.secret == nil }

// String returns a mask.
func (s Secret) String() string { return secretPrefix + "***" }

// GoString returns a mask.
func (s Secret) GoString() string { return s.String() }

// LogValue returns a mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// signer is an HMAC with room for what it reads and writes, so that signing
// allocates nothing.
type signer struct {
	mac  hash.Hash
	head []byte
	sum  []byte
}

// appendSignature appends the base64 HMAC-SHA256 of "id.timestamp.body".
func (s Secret) appendSignature(dst []byte, id, timestamp string, body []byte) []byte {
	sign := s.macs.Get().(*signer)
	sign.head = append(append(append(append(sign.head[:0], id...), '.'), timestamp...), '.')
	sign.mac.Reset()
	sign.mac.Write(sign.head)
	sign.mac.Write(body)
	sign.sum = sign.mac.Sum(sign.sum[:0])
	dst = base64.StdEncoding.AppendEncode(dst, sign.sum)
	s.macs.Put(sign)
	return dst
}
