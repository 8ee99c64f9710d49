package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prosa-chat/prosa/services/internal/messagejson"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
)

// place is what a failure's form tells about the call.
type place struct {
	path      string // escaped, without the query
	requestID string
}

// shaped is a failure in the form of its surface.
type shaped struct {
	status      int
	contentType string
	body        []byte
}

// shape puts a refusal into the form of the surface.
func (s surface) shape(r *refusal, at place) shaped {
	switch s {
	case surfaceAPIChannel:
		return shapeAPIChannel(r)
	case surfaceContacts:
		return shapeContacts(r, `{"contacts":[],"resultCount":0}`)
	case surfaceEvents:
		return shapeContacts(r, `{"events":[],"resultCount":0}`)
	case surfaceBotAPI:
		return shapeBotAPI(r)
	case surfaceConversation:
		r = asConversation(r)
	}
	return shapeProblem(r, at)
}

// shapeAPIChannel is the form of the API Channel (README.md). A 400 always has invalidParams; a body that cannot be read has no
// parameters to name, so there it is empty and the message says why.
func shapeAPIChannel(r *refusal) shaped {
	code := r.status
	if code == http.StatusForbidden {
		code = http.StatusUnauthorized
	}
	message, ok := apiChannelMessages[code]
	switch {
	case r.malformed != "":
		message = "The body " + r.malformed + "."
	case code == http.StatusNotFound && r.reason == "CHANNEL_NOT_FOUND":
		message = "Channel not found."
	case !ok:
		message = http.StatusText(code) + "."
	}
	body := append([]byte(`{"status":"error","message":`), messagejson.AppendString(nil, message)...)
	if code == http.StatusBadRequest {
		body = appendInvalid(append(body, `,"invalidParams":`...), r.invalid)
	}
	return shaped{status: code, contentType: jsonType, body: append(body, '}')}
}

// apiChannelMessages are chosen: the documentation has none.
var apiChannelMessages = map[int]string{
	http.StatusBadRequest:                  "The request is invalid.",
	http.StatusUnauthorized:                "The inbound token is missing or wrong.",
	http.StatusNotFound:                    "Not found.",
	http.StatusMethodNotAllowed:            "Method not allowed.",
	http.StatusRequestTimeout:              "The body did not arrive in time.",
	http.StatusConflict:                    "The first request with this Idempotency-Key has not ended yet.",
	http.StatusRequestEntityTooLarge:       "The body is larger than 256 KiB.",
	http.StatusRequestURITooLong:           "The URL is longer than 2 KiB.",
	http.StatusUnsupportedMediaType:        "The body must be application/json in UTF-8.",
	http.StatusUnprocessableEntity:         "The Idempotency-Key was used with another request.",
	http.StatusTooManyRequests:             "Too many requests.",
	http.StatusRequestHeaderFieldsTooLarge: "The header fields are larger than 16 KiB.",
	http.StatusInternalServerError:         "Unexpected error.",
	http.StatusServiceUnavailable:          "The message cannot be taken now, try again later.",
	http.StatusGatewayTimeout:              "The message was not taken in time, try again.",
}

// shapeContacts is the form of the contacts query, for events too. What may not be asked is 401 there, and a body that cannot
// be read is the invalid parameter "body".
func shapeContacts(r *refusal, nothing string) shaped {
	made := shaped{status: r.status, contentType: jsonType}
	switch r.status {
	case http.StatusBadRequest:
		invalid := r.invalid
		if r.malformed != "" {
			invalid = []rpcerr.Violation{{Field: "body", Reason: r.malformed}}
		}
		made.body = append(appendInvalid([]byte(`{"message":"Bad request","invalidParams":`), invalid), '}')
	case http.StatusUnauthorized, http.StatusForbidden:
		made.status = http.StatusUnauthorized
		made.body = []byte(`{"message":"Unauthorized"}`)
	case http.StatusNotFound:
		made.body = []byte(nothing)
	case http.StatusTooManyRequests:
		made.body = []byte(`{"message":"Too many requests"}`)
	case http.StatusInternalServerError:
		made.body = []byte(`{"status":"error","message":"Unexpected error"}`)
	default:
		made.body = append(messagejson.AppendString([]byte(`{"message":`), sentence(r.status)), '}')
	}
	return made
}

// sentence is the status in the manner of "Bad request".
func sentence(status int) string {
	text := http.StatusText(status)
	return text[:1] + strings.ReplaceAll(strings.ToLower(text[1:]), "uri", "URI")
}

// shapeBotAPI is the form of the Bot API. A 400 names the first bad part.
func shapeBotAPI(r *refusal) shaped {
	code := r.status
	if code == http.StatusForbidden {
		code = http.StatusUnauthorized
	}
	message, ok := botAPIMessages[code]
	switch {
	case code == http.StatusBadRequest:
		message = "Bad request: " + badPart(r)
	case !ok:
		message = sentence(code) + "."
	}
	body := append([]byte(`{"code":`), strconv.Itoa(code)...)
	body = append(body, `,"message":`...)
	return shaped{status: code, contentType: jsonType, body: append(messagejson.AppendString(body, message), '}')}
}

var botAPIMessages = map[int]string{
	http.StatusNotFound:              "Client not found.",
	http.StatusRequestEntityTooLarge: "Payload too large.",
	http.StatusInternalServerError:   "Unexpected Error.",
	http.StatusServiceUnavailable:    "Unavailable.",
	http.StatusGatewayTimeout:        "Assistant timed out.",
}

// badPart is the first part of a request to the Bot API that is bad, in the order of the documentation; the body when it cannot be
// read at all.
func badPart(r *refusal) string {
	for _, part := range []string{"identifier", "input", "context", headerIdempotencyKey} {
		for _, v := range r.invalid {
			if name := v.Field; name == part || within(name, part) {
				return part
			}
		}
	}
	return "body"
}

// appendInvalid appends the list of bad parameters, each name once.
func appendInvalid(dst []byte, invalid []rpcerr.Violation) []byte {
	dst = append(dst, '[')
	named := make(map[string]bool, len(invalid))
	for _, v := range invalid {
		if named[v.Field] {
			continue
		}
		if len(named) > 0 {
			dst = append(dst, ',')
		}
		named[v.Field] = true
		dst = messagejson.AppendString(append(dst, `{"name":`...), v.Field)
		dst = messagejson.AppendString(append(dst, `,"reason":`...), v.Reason)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
