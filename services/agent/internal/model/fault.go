package model

import "github.com/prosa-chat/prosa/services/agent/internal/flow"

// What can go wrong; a status other than 200 is reasonStatus and its number. The words are in logs and metrics.
const (
	reasonSecret      = "secret_missing"      // the secret that holds the key is not there
	reasonAddress     = "address_refused"     // the guard does not let the endpoint be called
	reasonUnreachable = "unreachable"         // no connection, or it broke before the answer began
	reasonStatus      = "status_"             // another status than 200
	reasonContentType = "not_an_event_stream" // 200, but no stream of events
	reasonFirstToken  = "first_token_timeout"
	reasonToken       = "token_timeout"
	reasonTimeout     = "timeout"
	reasonCut         = "cut_off"   // the stream ended, or the connection broke, before the model had ended
	reasonTooLarge    = "too_large" // an event, a text or a stream of more bytes than are read
	reasonTokens      = "too_many_tokens"
	reasonMalformed   = "malformed"      // what is no JSON, or not of the protocol
	reasonUTF8        = "invalid_utf8"   // bytes that make no characters
	reasonReported    = "reported"       // the stream itself tells of an error
	reasonFiltered    = "content_filter" // the endpoint cut its model short
	reasonUses        = "too_many_uses"  // more uses of tools than a model may have at once
)

func fault(reason string) *flow.Fault { return &flow.Fault{Reason: reason} }
