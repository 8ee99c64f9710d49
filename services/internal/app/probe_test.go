package app

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// TestProbe asks the operations address as Kubernetes does, by gRPC in plain text, and as everybody else does.
func TestProbe(t *testing.T) {
	ready := &readiness{}
	server := newOperations(ready, prometheus.NewRegistry(), false)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	}()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	client := grpc_health_v1.NewHealthClient(conn)
	ask := func(service string) string {
		t.Helper()
		answer, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		return answer.GetStatus().String()
	}
	require.Equal(t, "NOT_SERVING", ask(""))
	require.Equal(t, "NOT_SERVING", ask("readyz"))
	require.Equal(t, "SERVING", ask("livez"), "it is up, and starting")
	ready.start()
	require.Equal(t, "SERVING", ask(""))
	require.Equal(t, "SERVING", ask("readyz"))
	ready.leave()
	require.Equal(t, "NOT_SERVING", ask("readyz"))
	require.Equal(t, "SERVING", ask("livez"))
	_, err = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other"})
	require.Equal(t, codes.NotFound, status.Code(err))

	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := plain.Get("http://" + listener.Addr().String() + "/livez")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}
