package gateway

import (
	"net/http"
	"strconv"

	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// problemBase begins the type of every problem; the status follows. The documentation of the conversation API fixes it.
const problemBase = "https://httpproblems.com/http-status/"

// shapeProblem is application/problem+json (RFC 9457) as the conversation API documents it, with the members reason and
// requestId beside the documented ones.
func shapeProblem(r *refusal, at place) shaped {
	code := strconv.Itoa(r.status)
	body := append(append([]byte(`{"type":"`+problemBase), code...), `","title":`...)
	body = messagejson.AppendString(body, http.StatusText(r.status))
	body = append(append(body, `,"status":`...), code...)
	body = messagejson.AppendString(append(body, `,"detail":`...), problemDetail(r))
	body = messagejson.AppendString(append(body, `,"instance":`...), at.path)
	if r.reason != "" {
		body = messagejson.AppendString(append(body, `,"reason":`...), r.reason)
	}
	if r.status == http.StatusBadRequest {
		body = appendInvalid(append(body, `,"invalidParams":`...), r.invalid)
	}
	body = messagejson.AppendString(append(body, `,"requestId":`...), at.requestID)
	return shaped{status: r.status, contentType: problemType, body: append(body, '}')}
}

// problemDetail is what a person reads. The three of status 401 are documented.
func problemDetail(r *refusal) string {
	switch {
	case r.status == http.StatusUnauthorized && r.reason == reasonCredentialsMissing:
		return "No Authorization Header"
	case r.status == http.StatusUnauthorized && r.reason == reasonCredentialsMalformed:
		return "Invalid Authorization Scheme"
	case r.status == http.StatusUnauthorized:
		return "API Key is invalid or does not have access to the API"
	case r.malformed != "":
		return "The body " + r.malformed
	case r.detail != "":
		return r.detail
	}
	if detail, ok := problemDetails[r.status]; ok {
		return detail
	}
	return http.StatusText(r.status)
}

var problemDetails = map[int]string{
	http.StatusBadRequest:                  "The request is invalid",
	http.StatusNotFound:                    "There is nothing at this path",
	http.StatusMethodNotAllowed:            "The resource does not have this method",
	http.StatusRequestTimeout:              "The body did not arrive in time",
	http.StatusRequestEntityTooLarge:       "The body is larger than 256 KiB",
	http.StatusRequestURITooLong:           "The URL is longer than 2 KiB",
	http.StatusUnsupportedMediaType:        "The body must be application/json in UTF-8",
	http.StatusTooManyRequests:             "Too many requests",
	http.StatusRequestHeaderFieldsTooLarge: "The header fields are larger than 16 KiB",
	http.StatusInternalServerError:         "Something unexpected happened; the log has it under the request id",
	http.StatusNotImplemented:              "This version does not have the operation",
	http.StatusServiceUnavailable:          "The service cannot take the call now, try again later",
	http.StatusGatewayTimeout:              "The call did not end in time",
}
