package receiver_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chance is a source of randomness that always says the same.
type chance float64

func (c chance) Float64() float64 { return float64(c) }

func TestReceiver(t *testing.T) {
	clk := clock.NewManual(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC))
	secret, other := webhook.NewSecret(nil), webhook.NewSecret(nil)
	const body = `{"contactId":"c"}`
	tests := []struct {
		name     string
		options  receiver.Options
		signed   webhook.Secret
		age      time.Duration
		want     int
		problem  error
		answered string
	}{
		{"acknowledges", receiver.Options{}, webhook.Secret{}, 0, 200, nil, `{"status":"ok"}`},
		{"verifies", receiver.Options{Secrets: []webhook.Secret{secret}}, secret, 0, 200, nil, `{"status":"ok"}`},
		{"refuses another's signature", receiver.Options{Secrets: []webhook.Secret{secret}}, other, 0, 401, webhook.ErrSignature, ""},
		{"refuses an old timestamp", receiver.Options{Secrets: []webhook.Secret{secret}}, secret, webhook.Tolerance + time.Second, 401, webhook.ErrTimestamp, ""},
		{"fails on demand", receiver.Options{Misbehaviour: receiver.Misbehaviour{FailRate: 0.5}, Random: chance(0.49)}, secret, 0, 500, nil, ""},
		{"spares the rest", receiver.Options{Misbehaviour: receiver.Misbehaviour{FailRate: 0.5}, Random: chance(0.5)}, secret, 0, 200, nil, `{"status":"ok"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var shown []receiver.Received
			test.options.Clock = clk
			test.options.Show = func(r receiver.Received) { shown = append(shown, r) }

			request := httptest.NewRequest(http.MethodPost, "/any/path", strings.NewReader(body))
			ts := clk.Now().Add(-test.age)
			request.Header.Set(webhook.HeaderID, "64a1b2c3d4e5f6a7b8c9d0e1")
			request.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(ts.Unix(), 10))
			request.Header.Set(webhook.HeaderSignature, webhook.Sign("64a1b2c3d4e5f6a7b8c9d0e1", ts, []byte(body), test.signed))
			request.Header.Set(webhook.HeaderSequence, "3")
			response := httptest.NewRecorder()
			receiver.New(test.options).ServeHTTP(response, request)

			require.Equal(t, test.want, response.Code)
			require.Equal(t, test.answered, response.Body.String())
			require.Len(t, shown, 1)
			require.Equal(t, "64a1b2c3d4e5f6a7b8c9d0e1", shown[0].ID)
			require.Equal(t, "3", shown[0].Sequence)
			require.Equal(t, body, string(shown[0].Body))
			require.ErrorIs(t, shown[0].Problem, test.problem)
		})
	}
}

func TestReceiverTakesOnlyPosts(t *testing.T) {
	response := httptest.NewRecorder()
	receiver.New(receiver.Options{}).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, response.Code)
	require.Equal(t, http.MethodPost, response.Header().Get("Allow"))
}

func TestReceiverRefusesHugeBodies(t *testing.T) {
	for size, want := range map[int]int{1 << 20: 200, 1<<20 + 1: 413} {
		response := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size)))
		receiver.New(receiver.Options{}).ServeHTTP(response, request)
		require.Equal(t, want, response.Code)
	}
}
