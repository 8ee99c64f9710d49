package deliveries

import (
	"context"
	"log/slog"

	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/persist"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// goneReason is why a channel is disabled whose webhook answered 410.
	goneReason = "the webhook answered 410 Gone"
	// callbackGoneReason is the same of an integration.
	callbackGoneReason = "the callback answered 410 Gone"
)

// Attempt sends d once and takes note of what came of it: in d, whose Attempts
// and AttemptCount grow, in what is known of the endpoint, and in the metrics.
// An endpoint that answered 410 is disabled. made is false if the attempt was
// interrupted, which says nothing about the receiver. It is for what is sent
// again, too: whatever goes to an endpoint counts there. The caller has a place
// at the endpoint.
func (w *Worker) Attempt(ctx context.Context, endpoint *directory.Endpoint, d *store.Delivery) (outcome webhook.Outcome, made bool) {
	began := w.Clock.Now()
	span := w.Tracer.Attempt(ctx, d)
	outcome = webhook.Attempt(ctx, w.Client, webhook.Request{
		URL:             endpoint.URL,
		Headers:         endpoint.Header,
		ID:              d.ID,
		Body:            d.Body,
		Secrets:         endpoint.Secrets(began),
		Traceparent:     span.Traceparent(),
		Sequence:        uint64(d.Sequence),
		UserAgent:       w.config.UserAgent,
		Timeout:         endpoint.Timeout,
		Acknowledgement: acknowledgement(endpoint.Acknowledgement),
		Clock:           w.Clock,
	})
	span.End(outcome.StatusCode, word(outcome), !outcome.Acknowledged)
	w.metrics.attempted(outcome)
	if outcome.Err == webhook.Canceled {
		return outcome, false // by the end of the process, or the loss of the lease
	}
	w.endpoints.learn(endpoint.ID, outcome)
	attempts, err := appendAttempt(d.Attempts, began, outcome)
	if err != nil {
		return outcome, false
	}
	d.Attempts = attempts
	d.AttemptCount++
	if outcome.Acknowledged {
		return outcome, true
	}
	w.Logger.LogAttrs(ctx, slog.LevelDebug, "delivery attempt failed", slog.String("delivery", d.ID), slog.String("channel", endpoint.ID),
		slog.Int("attempt", d.AttemptCount), slog.String("class", string(outcome.Err)), slog.Int("status", outcome.StatusCode))
	if outcome.Gone {
		w.disable(ctx, endpoint)
	}
	return outcome, true
}

// Settled counts a delivery that is stored as Delivered or Dead.
func (w *Worker) Settled(ctx context.Context, d *store.Delivery) {
	if d.State == store.Delivered {
		w.metrics.delivered.Inc()
		return
	}
	w.metrics.dead.Inc()
	w.Logger.LogAttrs(ctx, slog.LevelWarn, "delivery is dead", slog.String("delivery", d.ID), slog.String("channel", d.EndpointID),
		slog.Int("attempts", d.AttemptCount))
}

// disable stops deliveries to a webhook or callback that is gone. They are kept.
func (w *Worker) disable(ctx context.Context, endpoint *directory.Endpoint) {
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) error {
		set, reason := w.Store.SetState, goneReason
		if endpoint.BotAPI != nil {
			set, reason = w.Store.SetBotAPIState, callbackGoneReason
		}
		_, err := set(ctx, endpoint.Instance, endpoint.ID, store.Active, store.Disabled, reason, w.Clock.Now())
		return err
	})
	w.Directory.Forget(endpoint.ID)
	if err != nil {
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "disable endpoint", slog.String("channel", endpoint.ID), slog.String("error", err.Error()))
		return
	}
	w.Logger.LogAttrs(ctx, slog.LevelWarn, "endpoint is disabled: it answered 410", slog.String("channel", endpoint.ID))
}

func acknowledgement(a store.Acknowledgement) webhook.Acknowledgement {
	if a == store.Any2xx {
		return webhook.Any2xx
	}
	return webhook.StatusOK
}
