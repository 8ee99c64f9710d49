package check

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// judge says what to mend after an exchange that should have been acknowledged.
func (a *attempt) judge(o webhook.Outcome) (Verdict, string) {
	if o.Acknowledged {
		if limit := a.target.Timeout / 2; o.Duration > limit {
			return Warned, fmt.Sprintf("The answer took %s, more than half of the %s that it may: acknowledge first, and work afterwards.",
				o.Duration.Round(time.Millisecond), a.target.Timeout)
		}
		return Passed, ""
	}
	switch o.Err {
	case webhook.Status:
		return Failed, statusDetail(o.StatusCode)
	case webhook.NotAcknowledged:
		return Failed, `The status is 200, but the body is no JSON object whose "status" is "ok". Answer {"status":"ok"}, or set acknowledgement` +
			` to ANY_2XX.`
	case webhook.Timeout:
		return Failed, fmt.Sprintf("There was no whole answer within %s: acknowledge first, and work afterwards.", a.target.Timeout)
	case webhook.TLS:
		return Failed, "The connection could not be encrypted: " + a.seen.cause()
	}
	if detail, ok := classDetails[o.Err]; ok {
		return Failed, detail
	}
	return Failed, "The exchange failed (" + string(o.Err) + ")."
}

var classDetails = map[webhook.Class]string{
	webhook.RefusedTarget: "The URL, or what its host name resolves to, may not be called: it is not on the public internet, or is plain http, and" +
		" no setting allows that.",
	webhook.BadRequest: "The URL cannot be called.",
	webhook.DNS:        "The host name does not resolve.",
	webhook.Connect:    "No connection could be made: is the server running, and its port open to the internet?",
	webhook.Reset:      "The connection ended before the answer did.",
	webhook.Protocol:   "The answer is not HTTP, or its header is larger than 64 KiB.",
}

// statusDetail says what to do about a status that does not acknowledge.
func statusDetail(status int) string {
	switch {
	case status >= 200 && status <= 299:
		return fmt.Sprintf("The status is %d: answer 200, or set acknowledgement to ANY_2XX.", status)
	case status >= 300 && status <= 399:
		return fmt.Sprintf("The status is %d: redirects are not followed, so set webhookUrl to where it leads.", status)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Sprintf("The status is %d: does the receiver verify with this channel's signing secret, over the body as it came, and is its"+
			" clock right?", status)
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return fmt.Sprintf("The status is %d: is webhookUrl the path that takes the webhooks, by POST?", status)
	case status == http.StatusGone:
		return "The status is 410: a delivery that is answered so disables the channel."
	case status >= http.StatusInternalServerError:
		return fmt.Sprintf("The status is %d: the receiver failed; its log should say why.", status)
	}
	return fmt.Sprintf("The status is %d: answer 200.", status)
}
