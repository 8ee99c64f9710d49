// Package signing keeps the secrets that sign the webhooks of one endpoint: the
// one in force, and those that were replaced but stay valid for a while, so
// that nobody has to change sender and receiver in the same moment.
package signing

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// Overlap is how long a secret goes on signing after it was replaced.
	Overlap = 24 * time.Hour
	// MaxSecrets is how many secrets sign at once: each adds 48 bytes to the
	// header of every attempt, and a receiver need not look at more than a few.
	MaxSecrets = 5
)

// ErrTooMany is wrapped by the error of a rotation that would leave more than
// [MaxSecrets] valid.
var ErrTooMany = errors.New("too many signing secrets are still valid")

// TooManyError says when the next rotation is possible.
type TooManyError struct{ Until time.Time }

// Error implements error.
func (e *TooManyError) Error() string { return ErrTooMany.Error() }

// Unwrap is [ErrTooMany].
func (e *TooManyError) Unwrap() error { return ErrTooMany }

// errRing is the error for text that is no ring. It holds nothing of the text.
var errRing = errors.New("not a ring of signing secrets")

// Ring is the secrets of one endpoint. It is immutable and safe for concurrent
// use. The zero Ring signs nothing.
type Ring struct {
	// secrets are newest first, and so are those of them that are valid at any
	// time: the longer ago one was replaced, the sooner it ends.
	secrets []webhook.Secret
	// until[i] is when secrets[i+1] ends.
	until []time.Time
}

// New returns a ring of one new secret, made of random or of the system's
// source when random is nil.
func New(random io.Reader) Ring { return Ring{secrets: []webhook.Secret{webhook.NewSecret(random)}} }

// Current is the newest secret, the one that its owner is shown once.
func (r Ring) Current() webhook.Secret {
	if len(r.secrets) == 0 {
		return webhook.Secret{}
	}
	return r.secrets[0]
}

// At returns the secrets that sign at the given time, newest first. The slice
// is shared and must not be changed.
func (r Ring) At(now time.Time) []webhook.Secret {
	valid := len(r.secrets)
	for valid > 1 && !now.Before(r.until[valid-2]) {
		valid--
	}
	return r.secrets[:valid:valid]
}

// Rotate returns the ring with a new secret in force. The one before it stays
// valid for [Overlap]; what has ended is dropped. The error is a
// *[TooManyError] if [MaxSecrets] are valid already.
func (r Ring) Rotate(now time.Time, random io.Reader) (Ring, error) {
	valid := r.At(now)
	if len(valid) == MaxSecrets {
		return Ring{}, &TooManyError{Until: r.until[MaxSecrets-2]}
	}
	next := New(random)
	next.secrets = append(next.secrets, valid...)
	if len(valid) > 0 {
		next.until = append(append(next.until, now.Add(Overlap)), r.until[:len(valid)-1]...)
	}
	return next, nil
}

// Seal encrypts the ring for the store. context names what the secrets belong
// to; it must be the same at Open.
func (r Ring) Seal(box *secretbox.Box, context string) ([]byte, error) {
	var text strings.Builder
	for i, secret := range r.secrets {
		if i > 0 {
			// One line a secret, with the time at which it ends.
			text.WriteString("\n" + strconv.FormatInt(r.until[i-1].UnixMicro(), 10) + " ")
		}
		text.WriteString(secret.Reveal())
	}
	sealed, err := box.Seal([]byte(text.String()), context)
	if err != nil {
		return nil, fmt.Errorf("seal signing secrets: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal made.
func Open(box *secretbox.Box, sealed []byte, context string) (Ring, error) {
	text, err := box.Open(sealed, context)
	if err != nil {
		return Ring{}, fmt.Errorf("open signing secrets: %w", err)
	}
	ring, err := parse(string(text))
	if err != nil {
		return Ring{}, fmt.Errorf("read signing secrets: %w", err)
	}
	return ring, nil
}

// parse reads what is inside a seal.
func parse(text string) (Ring, error) {
	lines := strings.Split(text, "\n")
	if len(lines) > MaxSecrets {
		return Ring{}, errRing
	}
	var ring Ring
	for i, line := range lines {
		if i > 0 {
			ends, rest, ok := strings.Cut(line, " ")
			micros, err := strconv.ParseInt(ends, 10, 64)
			if !ok || err != nil {
				return Ring{}, errRing
			}
			ring.until = append(ring.until, time.UnixMicro(micros).UTC())
			line = rest
		}
		secret, err := webhook.ParseSecret(line)
		if err != nil {
			return Ring{}, err
		}
		ring.secrets = append(ring.secrets, secret)
	}
	return ring, nil
}
