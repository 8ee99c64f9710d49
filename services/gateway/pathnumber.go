package gateway

import (
	"net/http"
	"strings"
)

// badPathNumber is the name of a number in the path that is none, as in "/v1/instances/loja/attendances/x:finish". The generated handlers
// refuse it before anything is asked, with this text and, unlike every service, without a reason.
func badPathNumber(r *refusal, message string) (name string, ok bool) {
	if r.status != http.StatusBadRequest || r.reason != "" {
		return "", false
	}
	rest, ok := strings.CutPrefix(message, "type mismatch, parameter: ")
	if !ok {
		return "", false
	}
	name, _, ok = strings.Cut(rest, ", error: ")
	return name, ok
}
