// Package id makes the identifiers of Prosa's resources: 24 lower-case hexadecimal digits that begin with the second of their
// making and end in random bits.
package id

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	size = 12 // bytes of an identifier
	// Length is the number of characters of an identifier.
	Length = 2 * size
	// orderedTime is how many of the bytes of an ordered identifier are its time.
	orderedTime = 7
)

// Source makes identifiers. It is safe for concurrent use.
type Source struct {
	clock clock.Clock

	mu     sync.Mutex
	random io.Reader
}

// NewSource returns a source that takes the seconds from c and the rest from random. A nil random is crypto/rand; anything else
// is for tests that want to know the identifiers beforehand, and must not run dry.
func NewSource(c clock.Clock, random io.Reader) *Source {
	if random == nil {
		// crypto/rand costs a system call each time; a buffer makes that one in some hundred identifiers.
		random = bufio.NewReader(rand.Reader)
	}
	return &Source{clock: c, random: random}
}

// New returns an identifier that nobody can guess: the second, and 64 random bits. Identifiers of different seconds sort by time
// (until the year 2106); within one second they have no order. It panics if the source of randomness fails: an identifier that
// might repeat is worse than a request that fails.
func (s *Source) New() string {
	var raw [size]byte
	// Truncation to 32 bits is the format.
	binary.BigEndian.PutUint32(raw[:4], uint32(s.clock.Now().Unix()))
	return s.finish(&raw, 4)
}

// NewOrdered returns an identifier for what there is much of: the second, 24 bits of its fraction (60 nanoseconds), and 40 random
// bits. Those that one process makes sort by time, so that an index of them grows at its end, where it costs least; nothing may
// rely on that for sequence. Whoever knows when it was made has 40 bits to guess, so it must not be a capability. It panics as
// New does.
func (s *Source) NewOrdered() string {
	var raw [size]byte
	binary.BigEndian.PutUint64(raw[:8], ordered(s.clock.Now()))
	return s.finish(&raw, orderedTime)
}

// OrderedFrom returns a text that sorts before every identifier that NewOrdered makes at t or later, and behind those that it made
// more than 60 nanoseconds earlier. Times before 1970 and after 2106 are at either end.
func OrderedFrom(t time.Time) string {
	switch seconds := t.Unix(); {
	case seconds < 0:
		return ""
	case seconds > math.MaxUint32:
		return "g" // behind all digits
	}
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], ordered(t))
	return hex.EncodeToString(raw[:orderedTime])
}

// OrderedTime is when an identifier of NewOrdered was made, to 64 nanoseconds; the zero time for what is none.
func OrderedTime(s string) time.Time {
	if !Valid(s) {
		return time.Time{}
	}
	stamp, err := strconv.ParseUint(s[:16], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(int64(stamp>>32), int64(stamp&(1<<32-1))>>2).UTC()
}

// ordered is the time at the beginning of an identifier: a billion takes 30 bits; shifted by two, the upper 24 of 32 are the
// fraction's, and the rest makes room for randomness.
func ordered(t time.Time) uint64 { return uint64(t.Unix())<<32 | uint64(t.Nanosecond())<<2 }

// finish fills raw with randomness from an index on and writes it as text.
func (s *Source) finish(raw *[size]byte, from int) string {
	s.mu.Lock()
	_, err := io.ReadFull(s.random, raw[from:])
	s.mu.Unlock()
	if err != nil {
		panic(fmt.Errorf("read randomness for an id: %w", err))
	}
	var text [Length]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// Valid reports whether s has the form of an identifier: 24 characters, each 0-9 or a-f.
func Valid(s string) bool {
	if len(s) != Length {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
