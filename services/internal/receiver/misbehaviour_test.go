package receiver_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// serve starts a receiver.
func serve(t *testing.T, options receiver.Options) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(receiver.New(options))
	t.Cleanup(server.Close)
	return server
}

func post(t *testing.T, server *httptest.Server) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(`{}`))
	require.NoError(t, err)
	response, err := server.Client().Do(request)
	if err == nil {
		t.Cleanup(func() { _ = response.Body.Close() })
	}
	return response, err
}

func answered(t *testing.T, server *httptest.Server) (status int, body, retryAfter string) {
	t.Helper()
	response, err := post(t, server)
	require.NoError(t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content), response.Header.Get("Retry-After")
}

func TestTheFirstFail(t *testing.T) {
	server := serve(t, receiver.Options{Misbehaviour: receiver.Misbehaviour{FailFirst: 2}})
	for _, want := range []int{500, 500, 200, 200} {
		status, _, _ := answered(t, server)
		require.Equal(t, want, status)
	}
}

func TestStatusesGoRound(t *testing.T) {
	server := serve(t, receiver.Options{Random: chance(0), Misbehaviour: receiver.Misbehaviour{FailRate: 1, Statuses: []int{503, 410, 204}, RetryAfter: "120"}})
	for _, want := range []int{503, 410, 204, 503} {
		status, body, retryAfter := answered(t, server)
		require.Equal(t, want, status)
		require.Empty(t, body)
		require.Equal(t, "120", retryAfter)
	}
}

func webhookTime(now time.Time) string { return strconv.FormatInt(now.Unix(), 10) }

func TestSuccessesAskForNoWait(t *testing.T) {
	_, _, retryAfter := answered(t, serve(t, receiver.Options{Misbehaviour: receiver.Misbehaviour{RetryAfter: "120"}}))
	require.Empty(t, retryAfter)
}

func TestTheWrongBody(t *testing.T) {
	var shown receiver.Received
	server := serve(t, receiver.Options{
		Misbehaviour: receiver.Misbehaviour{FailFirst: 1, WrongBody: `{"status":"no"}`},
		Show:         func(r receiver.Received) { shown = r },
	})
	status, body, _ := answered(t, server)
	require.Equal(t, 200, status)
	require.Equal(t, `{"status":"no"}`, body)
	require.Equal(t, "wrong body", shown.Note)
}

func TestDroppedConnections(t *testing.T) {
	shown := make(chan int, 2) // each is shown on another connection
	server := serve(t, receiver.Options{
		Misbehaviour: receiver.Misbehaviour{FailFirst: 1, Drop: true},
		Show:         func(r receiver.Received) { shown <- r.Status },
	})
	_, err := post(t, server)
	require.ErrorIs(t, err, io.EOF)
	status, _, _ := answered(t, server)
	require.Equal(t, 200, status)
	require.Zero(t, <-shown)
	require.Equal(t, 200, <-shown)
}

func TestSlowBytes(t *testing.T) {
	manual := clock.NewManual(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC))
	server := serve(t, receiver.Options{Clock: manual, Misbehaviour: receiver.Misbehaviour{FailFirst: 1, Slow: time.Second}})
	var got []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The status comes with the first byte.
		for range len(`{"status":"ok"}`) {
			manual.AwaitTimers(1)
			manual.Advance(time.Second)
		}
	}()
	response, err := post(t, server)
	require.NoError(t, err)
	reader := bufio.NewReader(response.Body)
	for {
		one, err := reader.ReadByte()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		got = append(got, one)
	}
	<-done
	require.Equal(t, `{"status":"ok"}`, string(got))
	require.Equal(t, 15*time.Second, manual.Now().Sub(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)))
}

func TestADelayEndsWithTheCaller(t *testing.T) {
	manual := clock.NewManual(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC))
	shown := false
	handler := receiver.New(receiver.Options{Clock: manual, Delay: time.Hour, Show: func(receiver.Received) { shown = true }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	response := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(`{}`))
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { handler.ServeHTTP(response, request) })
	require.False(t, response.Flushed)
	require.Empty(t, response.Body.String())
	require.False(t, shown)
}

// The public library of the specification signs what the receiver verifies.
func TestSignaturesOfTheReferenceLibraryAreTaken(t *testing.T) {
	secret := webhook.NewSecret(nil)
	reference, err := standardwebhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	now := time.Now()
	const body = `{"messages":[]}`
	signature, err := reference.Sign("64a1b2c3d4e5f6a7b8c9d0e1", now, []byte(body))
	require.NoError(t, err)
	handler := receiver.New(receiver.Options{Secrets: []webhook.Secret{webhook.NewSecret(nil), secret}, Clock: clock.System()})
	for name, test := range map[string]struct {
		body string
		want int
	}{"as signed": {body, 200}, "changed on the way": {body + " ", 401}} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
			request.Header.Set("webhook-id", "64a1b2c3d4e5f6a7b8c9d0e1")
			request.Header.Set("webhook-timestamp", webhookTime(now))
			request.Header.Set("webhook-signature", signature)
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, request)
			require.Equal(t, test.want, response.Code)
		})
	}
}
