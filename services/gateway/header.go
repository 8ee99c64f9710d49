package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/requestid"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	headerRequestID      = "X-Request-Id"
	headerIdempotencyKey = "Idempotency-Key"
	maxIdempotencyKey    = 255 // characters
)

// forwarded are the header fields that reach the services, by the names that they have there. Everything else stays outside:
// what a caller could say about itself in metadata, it must not be able to say here.
var forwarded = map[string]string{
	"Authorization":      "authorization",
	"X-Api-Key":          "x-api-key",
	headerIdempotencyKey: "idempotency-key",
	headerRequestID:      "x-request-id",
	"Traceparent":        "traceparent",
	"Tracestate":         "tracestate",
}

// returned are the metadata of an answer that become header fields.
var returned = map[string]string{
	"ratelimit":        "RateLimit",
	"ratelimit-policy": "RateLimit-Policy",
}

// forwardHeader keeps of a request's header what is forwarded.
func forwardHeader(from http.Header, requestID string) http.Header {
	kept := make(http.Header, 4)
	for name := range forwarded {
		// What cannot travel in metadata is as good as not there: grpc-gateway would drop it too, with a line in the log.
		if values, ok := from[name]; ok && !slices.ContainsFunc(values, unprintable) {
			kept[name] = values
		}
	}
	kept[headerRequestID] = []string{requestID}
	return kept
}

// matchForwarded names a header field in metadata. grpc-gateway passes Authorization on by itself.
func matchForwarded(name string) (string, bool) {
	if name == "Authorization" {
		return "", false
	}
	key, ok := forwarded[name]
	return key, ok
}

func matchReturned(key string) (string, bool) {
	name, ok := returned[key]
	return name, ok
}

func matchNone(string) (string, bool) { return "", false }

// requestIDOf is the caller's request id, if it is harmless, or a new one.
func requestIDOf(header http.Header, ids *id.Source) string {
	if given := header[headerRequestID]; len(given) == 1 && requestid.Valid(given[0]) {
		return given[0]
	}
	return ids.New()
}

// checkIdempotencyKey refuses a key that could not be kept: dropped silently it would protect nothing.
func checkIdempotencyKey(call *call, b *binding) []rpcerr.Violation {
	keys, given := call.request.Header[headerIdempotencyKey]
	if !given || b.verb == http.MethodGet || call.surface == surfaceContacts || call.surface == surfaceEvents {
		return nil
	}
	if len(keys) == 1 && len(keys[0]) >= 1 && len(keys[0]) <= maxIdempotencyKey && !unprintable(keys[0]) {
		return nil
	}
	return []rpcerr.Violation{{Field: headerIdempotencyKey, Reason: "must be 1 to 255 printable ASCII characters, given once"}}
}

// unprintable reports whether s cannot travel in gRPC metadata.
func unprintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return true
		}
	}
	return false
}

// timeoutOf is how long the call may take: what Grpc-Timeout asks for, if it is well formed (gRPC over HTTP/2: 1 to 8 digits and
// a unit), more than nothing, and less than the most.
func timeoutOf(header http.Header, most time.Duration) time.Duration {
	asked := header["Grpc-Timeout"]
	if len(asked) != 1 || len(asked[0]) < 2 || len(asked[0]) > 9 {
		return most
	}
	digits, unit := asked[0][:len(asked[0])-1], asked[0][len(asked[0])-1]
	length, ok := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second,
		'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}[unit]
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || time.Duration(n) > most/length {
		return most
	}
	return time.Duration(n) * length
}

// headerSize is what the header fields take together, in bytes.
func headerSize(header http.Header) int {
	size := 0
	for name, values := range header {
		for _, value := range values {
			size += len(name) + len(value) + 4 // ": " and the end of the line
		}
	}
	return size
}
