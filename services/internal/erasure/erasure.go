// Package erasure keeps the promise that whoever was erased stays erased: a record without personal data that it was done, which
// refuses what was on its way at that moment, and by which it is done anew when an older copy of a store was put back.
//
// A person is written as a keyed hash of instance and identifier. Every service that keeps anything about persons has this table in
// its migrations (COLLATE "C" on PostgreSQL):
//
//	CREATE TABLE erasure (
//	    instance    TEXT   NOT NULL,
//	    person      TEXT   NOT NULL, -- the keyed hash
//	    cut_time    BIGINT NOT NULL, -- what was accepted up to then is erased
//	    counts      TEXT   NOT NULL, -- a JSON object: how many of which kind
//	    finish_time BIGINT,          -- NULL until all of it was deleted
//	    scrub_time  BIGINT,          -- NULL while something may be left of it in the files; 0 when there was nothing
//	    PRIMARY KEY (instance, person, cut_time)
//	) WITHOUT ROWID;
//	CREATE INDEX erasure_by_time ON erasure (instance, cut_time, person);
package erasure

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// Record is one erasure.
type Record struct {
	Instance string
	// Person is the hash of whom it was; see [Hasher.Person].
	Person string
	// Cut is the time up to which everything was erased. Microseconds count.
	Cut time.Time
	// Counts is how many there were of each kind; nil until it was done.
	Counts map[string]int64
}

// Hasher makes of identifiers what records say. It is safe for concurrent use.
type Hasher struct{ key []byte }

// NewHasher returns a hasher under a key of the installation's secret key, so that all services, on all machines, make the same
// hashes, and nobody can try out identifiers without that key.
func NewHasher(box *secretbox.Box) *Hasher { return &Hasher{key: box.Derive("erasure")} }

// Person is the hash of a person: 64 hexadecimal digits. The identifier is taken as it is; two that differ are two persons.
func (h *Hasher) Person(instance, identifier string) string {
	return h.hash("person", instance, identifier)
}

// Contact is the hash of a person's id, for what is kept under the id alone.
func (h *Hasher) Contact(instance, contactID string) string {
	return h.hash("contact", instance, contactID)
}

func (h *Hasher) hash(parts ...string) string {
	mac := hmac.New(sha256.New, h.key)
	for _, part := range parts {
		mac.Write([]byte(part))
		mac.Write([]byte{0}) // no part but the last can hold one
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// Subject is a person of whom something is about to be stored. The zero value is nobody, whom no erasure concerns.
type Subject struct {
	// Hasher makes the hash when it is needed.
	Hasher               *Hasher
	Instance, Identifier string
	// Accepted is when that came which is to be stored.
	Accepted time.Time
}

// Person is the hash of the person; empty for nobody.
func (s Subject) Person() string {
	if s.Hasher == nil {
		return ""
	}
	return s.Hasher.Person(s.Instance, s.Identifier)
}
