package check

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	outOfTime   = "Not tried: the time of the check was used up."
	notAnswered = "Not tried: the first message got no answer."
	notTaken    = "Not tried: it would say nothing, because the webhook does not acknowledge the first message."
)

// attempt is one check in progress. One goroutine works on it.
type attempt struct {
	*Checker
	target                   Target
	client                   *http.Client
	began                    time.Time
	contactID, interactionID string
	seen                     sight
}

// message is one webhook that is sent.
type message struct {
	id       string
	body     []byte
	sequence uint64
}

// header lets a receiver tell checks from deliveries, if it wants to.
var header = http.Header{"Prosa-Check": {"true"}}

// run sends everything, one after the other, and returns the results.
func (a *attempt) run(ctx context.Context) []Result {
	ctx = httptrace.WithClientTrace(ctx, a.seen.trace())
	types := a.messages(a.began)
	first := a.compose(types[0].message, 1)
	text := a.deliver(ctx, Text, first)
	results := []Result{a.encryption(), text}
	reached := text.WebhookID != "" && text.Outcome.StatusCode != 0
	for i, one := range types[1:] {
		if !reached {
			results = append(results, Result{Kind: one.kind, Verdict: Skipped, Detail: notAnswered})
			continue
		}
		results = append(results, a.deliver(ctx, one.kind, a.compose(one.message, uint64(i)+2)))
	}
	for i, kind := range []Kind{Duplicate, WrongSignature, OldTimestamp} {
		switch {
		case !reached:
			results = append(results, Result{Kind: kind, Verdict: Skipped, Detail: notAnswered})
		case !text.Outcome.Acknowledged:
			results = append(results, Result{Kind: kind, Verdict: Skipped, Detail: notTaken})
		case kind == Duplicate:
			results = append(results, a.repeat(ctx, first))
		default:
			forged := a.compose(plain("Esta mensagem de teste deve ser recusada."), uint64(len(types)+i))
			results = append(results, a.provoke(ctx, kind, forged))
		}
	}
	return results
}

// compose makes a webhook of a message.
func (a *attempt) compose(m *messagev1.Message, sequence uint64) message {
	return message{id: a.IDs.New(), body: a.body(m), sequence: sequence}
}

// send makes one exchange. tried is false if there is no time for it, or was
// not enough.
func (a *attempt) send(ctx context.Context, m message, secrets []webhook.Secret, c webhook.Clock) (outcome webhook.Outcome, tried bool) {
	left := Budget - a.Clock.Now().Sub(a.began)
	if left <= 0 || ctx.Err() != nil {
		return webhook.Outcome{}, false
	}
	outcome = webhook.Attempt(ctx, a.client, webhook.Request{
		URL: a.target.URL, ID: m.id, Body: m.body, Headers: header, Secrets: secrets, Sequence: m.sequence, UserAgent: a.UserAgent,
		Timeout: min(a.target.Timeout, left), Acknowledgement: a.target.Acknowledgement, Clock: c,
	})
	switch {
	case outcome.Err == webhook.Canceled, outcome.Err == webhook.Timeout && left < a.target.Timeout:
		return webhook.Outcome{}, false
	}
	return outcome, true
}

// deliver sends what must be acknowledged.
func (a *attempt) deliver(ctx context.Context, kind Kind, m message) Result {
	outcome, tried := a.send(ctx, m, a.target.Secrets, a.Clock)
	if !tried {
		return Result{Kind: kind, Verdict: Skipped, Detail: outOfTime}
	}
	result := Result{Kind: kind, WebhookID: m.id, Outcome: outcome}
	result.Verdict, result.Detail = a.judge(outcome)
	return result
}

// repeat sends what was acknowledged once more, as after an answer that was
// lost.
func (a *attempt) repeat(ctx context.Context, first message) Result {
	result := a.deliver(ctx, Duplicate, first)
	if result.Verdict == Failed {
		result.Detail = "A message that came before must be acknowledged again, and otherwise ignored: what is acknowledged too late, or whose" +
			" answer is lost, is sent again with the same webhook-id. " + result.Detail
	}
	return result
}

// provoke sends what must be refused.
func (a *attempt) provoke(ctx context.Context, kind Kind, m message) Result {
	secrets, c := a.target.Secrets, webhook.Clock(a.Clock)
	if kind == WrongSignature {
		secrets = []webhook.Secret{webhook.NewSecret(nil)}
	} else {
		c = earlier{a.Clock}
	}
	outcome, tried := a.send(ctx, m, secrets, c)
	if !tried {
		return Result{Kind: kind, Verdict: Skipped, Detail: outOfTime}
	}
	result := Result{Kind: kind, Verdict: Passed, WebhookID: m.id, Outcome: outcome}
	switch {
	case outcome.Acknowledged && kind == WrongSignature:
		result.Verdict = Failed
		result.Detail = "The webhook took a message that was signed with another secret: whoever knows its URL can send messages. Verify" +
			" webhook-signature (Standard Webhooks) and answer 401 if none of its signatures fits."
	case outcome.Acknowledged:
		result.Verdict = Warned
		result.Detail = "The webhook took a message that was signed ten minutes ago: whoever recorded one can send it again. Refuse a" +
			" webhook-timestamp that is more than 5 minutes away."
	case outcome.StatusCode == 0 && outcome.Err != webhook.Reset:
		result.Verdict = Skipped
		result.Detail = "Nothing can be said: there was no answer."
	case outcome.StatusCode >= http.StatusInternalServerError:
		result.Verdict = Warned
		result.Detail = "The webhook did not take it, but by a fault of its own: answer 401."
	}
	return result
}

// earlier is a clock that is behind by Age.
type earlier struct{ clock.Clock }

// Now implements webhook.Clock.
func (e earlier) Now() time.Time { return e.Clock.Now().Add(-Age) }

// encryption is the result about the connection.
func (a *attempt) encryption() Result {
	result := Result{Kind: TLS}
	result.Verdict, result.Detail = a.seen.judge(a.began, strings.HasPrefix(strings.ToLower(a.target.URL), "https:"))
	return result
}
