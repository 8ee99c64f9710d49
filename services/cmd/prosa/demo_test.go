package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDemoWaitsForTheGateway has a gateway that is ready the third time it is
// asked, and then refuses the root key.
func TestDemoWaitsForTheGateway(t *testing.T) {
	var asked atomic.Int32
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/readyz":
			require.Equal(t, "Bearer wrong", r.Header.Get("Authorization"))
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte("no such key"))
		case asked.Add(1) < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer gateway.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var out bytes.Buffer
	command := demoCommand{GatewayURL: gateway.URL + "/"}
	command.MetricsAddr, command.RootKey, command.DataDir = "127.0.0.1:0", "wrong", t.TempDir()
	err := command.Run(t.Context(), streams{out: &out})
	require.EqualError(t, err, "call /v1/instances: status 401: no such key")
	require.Equal(t, "Waiting until the gateway at "+gateway.URL+" is ready.\n", out.String())
	require.EqualValues(t, 3, asked.Load())
}

// TestDemoIsToldToStop stops it while it waits for a gateway that is not there.
func TestDemoIsToldToStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	command := demoCommand{GatewayURL: "http://127.0.0.1:1"}
	command.MetricsAddr, command.DataDir = "127.0.0.1:0", t.TempDir()
	require.NoError(t, command.Run(ctx, streams{out: writerFunc(func(p []byte) (int, error) {
		cancel() // it says that it waits
		return len(p), nil
	})}))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestDemoClientTriesAgainWithTheSameKey(t *testing.T) {
	var mu sync.Mutex
	keys := map[string]int{}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys[r.Header.Get("Idempotency-Key")]++
		if len(keys) == 1 && keys[r.Header.Get("Idempotency-Key")] == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"id":"x"}`))
	}))
	defer gateway.Close()
	defer http.DefaultClient.CloseIdleConnections()
	client := demoClient{base: gateway.URL}
	for range 2 {
		var made demoMade
		require.NoError(t, client.call(t.Context(), http.MethodPost, "/x", "", map[string]any{}, &made))
		require.Equal(t, demoMade{ID: "x"}, made)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, keys, 2, "a call has a key of its own")
	require.NotContains(t, keys, "")
}
