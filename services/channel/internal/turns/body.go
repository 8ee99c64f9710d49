package turns

import (
	"strconv"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// appendBody appends what the webhook gets for one message of an answer: the
// documented object, byte for byte. debug is nil except on test channels.
func appendBody(dst []byte, answer *agentv1.RunTurnResponse, message *messagev1.Message, debug *agentv1.TurnDebug) []byte {
	dst = append(dst, `{"contactId":`...)
	dst = messagejson.AppendString(dst, answer.GetContactId())
	dst = append(dst, `,"interactionId":`...)
	dst = messagejson.AppendString(dst, answer.GetInteractionId())
	dst = append(dst, `,"messages":[`...)
	dst = messagejson.Append(dst, message)
	dst = append(dst, `],"debug":`...)
	dst = appendDebug(dst, debug)
	return append(dst, '}')
}

// appendDebug appends how the answer came about. What there is none of is null.
func appendDebug(dst []byte, debug *agentv1.TurnDebug) []byte {
	if debug == nil {
		return append(dst, `null`...)
	}
	dst = append(dst, `{"agentVersion":`...)
	dst = strconv.AppendInt(dst, int64(debug.GetAgentVersion()), 10)
	dst = append(dst, `,"node":`...)
	dst = appendOptional(dst, debug.GetNode())
	dst = append(dst, `,"intent":`...)
	dst = appendOptional(dst, debug.GetIntent())
	dst = append(dst, `,"confidence":`...)
	dst = appendNumber(dst, debug.GetConfidence())
	dst = append(dst, `,"durationMs":`...)
	dst = appendNumber(dst, debug.GetDurationMs())
	dst = append(dst, `,"traceId":`...)
	dst = appendOptional(dst, debug.GetTraceId())
	return append(dst, '}')
}

func appendOptional(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, `null`...)
	}
	return messagejson.AppendString(dst, text)
}

// appendNumber writes no exponent, and nothing that JSON has no word for.
func appendNumber(dst []byte, number float64) []byte {
	if number-number != 0 { // infinite, or not a number
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, number, 'f', -1, 64)
}
