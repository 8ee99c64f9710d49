package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/admission"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

// TestBehindASlowStoreOnlySoManyAreCarriedOut floods a surface whose store does not answer. Three calls are in, some wait, and twenty
// are turned away while no time passes; everything else is answered as ever. When the store goes on, those that were in are done, and the
// store never saw another.
func TestBehindASlowStoreOnlySoManyAreCarriedOut(t *testing.T) {
	const places, waiting, beyond = 3, 3 * admission.WaitersPerPlace, 20
	h := newHarness(t, Config{})
	manual := clock.NewManual(started)
	gate := admission.New(places, manual)
	h.gateway.gates[surfaceAPIChannel] = gate
	release := make(chan struct{})
	h.fakes.receive = func(context.Context, *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
		<-release
		return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"}, nil
	}
	answers := make(chan answer, places+waiting)
	flood := func(calls int, there func() bool) {
		for range calls {
			go func() { answers <- h.post(t, goodMessage) }()
		}
		require.Eventually(t, there, 10*time.Second, time.Millisecond)
	}
	flood(places, func() bool { _, _, calls := h.fakes.seen(); return calls == places })
	flood(waiting, func() bool { return gate.Waiting() == waiting })
	for range beyond {
		refused := h.post(t, goodMessage)
		require.Equal(t, 503, refused.status)
		require.Equal(t, "1", refused.header.Get("Retry-After"))
		require.NotEqual(t, "close", refused.header.Get("Connection"))
	}
	require.Equal(t, 200, h.do(t, "GET", "/livez", "").status)
	require.Equal(t, 200, h.do(t, "GET", "/readyz", "").status)
	require.Equal(t, 401, h.do(t, "GET", "/v1/instances", "").status, "the gates of others are open")

	manual.Advance(admission.DefaultWait)
	for range waiting {
		require.Equal(t, 503, (<-answers).status)
	}
	close(release)
	for range places {
		require.Equal(t, 200, (<-answers).status)
	}
	_, _, calls := h.fakes.seen()
	require.Equal(t, places, calls)
	require.Equal(t, float64(waiting+beyond), testutil.ToFloat64(h.gateway.metrics.shed[surfaceAPIChannel]))
	require.Empty(t, h.log.String(), "what is turned away is counted, not written down")
	require.Equal(t, 200, h.post(t, goodMessage).status)
}

// TestEverySurfaceTurnsAwayInItsForm fills each gate, and asks for one more.
func TestEverySurfaceTurnsAwayInItsForm(t *testing.T) {
	h := newHarness(t, Config{})
	problem := `{"type":"https://httpproblems.com/http-status/503","title":"Service Unavailable","status":503,` +
		`"detail":"The service cannot take the call now, try again later","instance":"%s","reason":"UNAVAILABLE","requestId":"r1"}`
	for surface, wanted := range map[surface]struct{ method, path, body string }{
		surfaceAPIChannel:   {"POST", "/webhooks/api", `{"status":"error","message":"The message cannot be taken now, try again later."}`},
		surfaceContacts:     {"POST", "/contacts/acme", `{"message":"Service unavailable"}`},
		surfaceEvents:       {"POST", "/events/acme", `{"message":"Service unavailable"}`},
		surfaceBotAPI:       {"POST", "/acme/api/1", `{"code":503,"message":"Unavailable."}`},
		surfaceManagement:   {"GET", "/v1/instances", fmt.Sprintf(problem, "/v1/instances")},
		surfaceConversation: {"GET", "/conversation", fmt.Sprintf(problem, "/conversation")},
	} {
		manual := clock.NewManual(started)
		gate := admission.New(1, manual)
		h.gateway.gates[surface] = gate
		require.True(t, gate.Enter(t.Context()))
		refused := make(chan answer, 1)
		go func() { refused <- h.do(t, wanted.method, wanted.path, "", "X-Request-Id: r1") }()
		require.Eventually(t, func() bool { return gate.Waiting() == 1 }, 10*time.Second, time.Millisecond)
		manual.Advance(admission.DefaultWait)
		got := <-refused
		require.Equal(t, 503, got.status, surface)
		require.Equal(t, "1", got.header.Get("Retry-After"), surface)
		require.Equal(t, "r1", got.header.Get("X-Request-Id"), surface)
		require.Equal(t, wanted.body, got.body, surface)
		gate.Leave()
		require.NotEqual(t, 503, h.do(t, wanted.method, wanted.path, "").status, surface)
		require.Zero(t, gate.InFlight(), surface)
	}
	for surface, gate := range h.gateway.gates {
		free := surface == int(surfaceOperations) || surface == int(surfaceOther)
		require.Equal(t, free, gate == nil, surface)
	}
}
