package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/internal/admission"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

// The calls of each surface that are carried out at once; those beyond wait a moment and are then asked to come back, before anything of
// them was read but the header. Each surface has places of its own, so that one that is flooded leaves the others alone. Pages and health
// need none.
const (
	// shortPlaces are for calls that end when something is on disk. One group commit takes as many as this.
	shortPlaces = 256
	// queryPlaces are for calls that read, or change what an operator keeps.
	queryPlaces = 64
	// longPlaces are for calls that may wait for an agent or a model, and cost nothing meanwhile but memory.
	longPlaces = 2048
)

// shedRetry is when a call that was turned away may come again.
const shedRetry = time.Second

// newGates are the gates of all surfaces that need one.
func newGates(c clock.Clock) [surfaces]*admission.Gate {
	return [surfaces]*admission.Gate{
		surfaceAPIChannel:   admission.New(shortPlaces, c),
		surfaceBotAPI:       admission.New(longPlaces, c),
		surfaceConversation: admission.New(longPlaces, c),
		surfaceContacts:     admission.New(queryPlaces, c),
		surfaceEvents:       admission.New(queryPlaces, c),
		surfaceManagement:   admission.New(queryPlaces, c),
	}
}

// admit takes a place for a call at its surface's gate, which must be given back there; the gate is nil where none is needed. It reports
// false when the call was turned away, and answered.
func (g *Gateway) admit(ctx context.Context, c *call) (gate *admission.Gate, ok bool) {
	gate = g.gates[c.surface]
	if gate == nil || gate.Enter(ctx) {
		return gate, true
	}
	g.metrics.shed[c.surface].Inc()
	c.shed = true
	g.refuse(ctx, c, &refusal{status: http.StatusServiceUnavailable, reason: reasonUnavailable, retryAfter: shedRetry})
	return nil, false
}
