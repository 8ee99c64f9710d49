package app

import (
	"context"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// The names that a probe may ask for; none is readiness.
const (
	probeReady = "readyz"
	probeLive  = "livez"
)

// probe answers the gRPC health protocol on the operations address, in plain text: Kubernetes asks by it, and cannot speak TLS, which
// the address of the roles wants.
type probe struct {
	grpc_health_v1.UnimplementedHealthServer
	ready *readiness
}

// Check implements grpc_health_v1.HealthServer.
func (p *probe) Check(ctx context.Context, request *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	answer := &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}
	switch request.GetService() {
	case probeLive:
	case probeReady, "":
		if len(p.ready.problems(ctx)) > 0 {
			answer.Status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
	default:
		return nil, status.Error(codes.NotFound, "no such check: "+probeReady+" and "+probeLive+" are known")
	}
	return answer, nil
}

// withProbe serves the gRPC health protocol beside what next serves.
func withProbe(ready *readiness, next http.Handler) http.Handler {
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, &probe{ready: ready})
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.ProtoMajor == 2 && strings.HasPrefix(request.Header.Get("Content-Type"), "application/grpc") {
			server.ServeHTTP(w, request)
			return
		}
		next.ServeHTTP(w, request)
	})
}
