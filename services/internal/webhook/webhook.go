// Package webhook makes one attempt to deliver a body to a receiver's URL, by
// the Standard Webhooks specification (https://www.standardwebhooks.com), and
// says what came of it: whether the receiver acknowledged, what it asked for,
// and when to try again. It keeps no state and retries nothing; whoever owns
// the queue does.
package webhook

// Names of the headers that the Standard Webhooks specification defines, and
// of Prosa's own, in the form in which [net/http.Header] keeps them. HTTP
// ignores their case.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
	// HeaderSequence is the message's number within its conversation, from 1
	// without a gap.
	HeaderSequence = "Prosa-Sequence"
	// HeaderTraceparent names the trace that an attempt belongs to (W3C Trace
	// Context).
	HeaderTraceparent = "Traceparent"
)
