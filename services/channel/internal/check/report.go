package check

import (
	"crypto/tls"
	"time"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Kind is what a result is about.
type Kind string

// The kinds, in the order in which they are reported.
const (
	TLS            Kind = "TLS"
	Text           Kind = "TEXT"
	Date           Kind = "DATE"
	Buttons        Kind = "BUTTONS"
	List           Kind = "LIST"
	Media          Kind = "MEDIA"
	Duplicate      Kind = "DUPLICATE"
	WrongSignature Kind = "WRONG_SIGNATURE"
	OldTimestamp   Kind = "OLD_TIMESTAMP"
)

// Verdict says whether something is to be mended.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "PASSED"
	Warned  Verdict = "WARNED"
	Failed  Verdict = "FAILED"
	Skipped Verdict = "SKIPPED"
)

// worse is the verdict that says more is to be mended; Skipped says nothing.
func worse(a, b Verdict) Verdict {
	for _, verdict := range []Verdict{Failed, Warned, Passed} {
		if a == verdict || b == verdict {
			return verdict
		}
	}
	return Skipped
}

// Result is what came of one check.
type Result struct {
	Kind    Kind
	Verdict Verdict
	// Detail says to people what to mend, or why nothing was tried.
	Detail string
	// WebhookID is what was sent; empty if nothing was.
	WebhookID string
	// Outcome is that of the exchange; of no meaning without a WebhookID.
	Outcome webhook.Outcome
}

// Encryption is that of the connection.
type Encryption struct {
	// Version is 0 if the handshake failed.
	Version uint16
	// ExpireTime and Issuer are those of the receiver's certificate; zero if it
	// showed none.
	ExpireTime time.Time
	Issuer     string
}

// VersionName is the version in words, empty for none.
func (e *Encryption) VersionName() string {
	if e.Version == 0 {
		return ""
	}
	return tls.VersionName(e.Version)
}

// Report is what came of all checks.
type Report struct {
	// Verdict is the worst of all results.
	Verdict Verdict
	// Results has one entry for each kind, in their order.
	Results []Result
	// TLS is nil when no encrypted connection was tried.
	TLS      *Encryption
	Time     time.Time
	Duration time.Duration
}
