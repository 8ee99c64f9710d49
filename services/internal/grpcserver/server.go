package grpcserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

// The limits of a server on a network.
const (
	// MaxReceiveBytes is the largest message taken.
	MaxReceiveBytes = 4 << 20
	// MaxStreams is how many calls one connection may have open.
	MaxStreams = 1000
	// maxHeaderBytes is the largest header taken, all fields together.
	maxHeaderBytes = 16 << 10
	// connectionTimeout is how long a connection may take to become one.
	connectionTimeout = 10 * time.Second
	// minPing is the shortest time between two pings of a client; who pings more often is cut off.
	minPing = 10 * time.Second
	// idlePing is after how much silence the server asks whether the client is still there, and pingTimeout how long it waits.
	idlePing    = time.Minute
	pingTimeout = 20 * time.Second
	// maxIdle is how long a connection without calls is kept.
	maxIdle = 15 * time.Minute
	// defaultConnectionAge is how long a connection is kept, and up to a tenth more or less: clients look the name up anew then and find
	// replicas that came since, and load goes over to them within minutes. maxAgeGrace is longer than any call.
	defaultConnectionAge = 5 * time.Minute
	maxAgeGrace          = maxTimeout + time.Minute
	// cutOffGrace is how long a handler may take to notice that its call was cut off.
	cutOffGrace = 2 * time.Second
)

// Options is what distinguishes one server from another.
type Options struct {
	// Credentials is the TLS of the server; nil means plain text. See package mtls.
	Credentials credentials.TransportCredentials
	// TrustNetwork takes every caller for one of Prosa's services. Only for networks that nobody else can reach
	// (--insecure-internal).
	TrustNetwork bool
	// ConnectionAge is how long a connection is kept before its client is asked to come back; calls on it end in peace. Zero: 5 minutes.
	ConnectionAge time.Duration
}

// Server is a gRPC server on a network, with health and reflection.
type Server struct {
	server *grpc.Server
	health *health.Server
	drain  context.CancelFunc
	clock  clock.Clock

	stopOnce sync.Once
	stopped  chan struct{}
}

var _ reflection.GRPCServer = (*Server)(nil)

// New returns a server that serves nothing but health and reflection yet. It is not healthy until SetServing.
func New(chain Chain, opts Options) *Server {
	trusted := trust(certified)
	if opts.TrustNetwork {
		trusted = everyone
	}
	creds := opts.Credentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	age := opts.ConnectionAge
	if age <= 0 {
		age = defaultConnectionAge
	}
	links := chain.trusting(trusted)
	s := &Server{
		server: grpc.NewServer(
			grpc.Creds(creds),
			grpc.UnaryInterceptor(chainUnary(links)),
			grpc.StreamInterceptor(chainStream(links)),
			grpc.MaxRecvMsgSize(MaxReceiveBytes),
			grpc.MaxConcurrentStreams(MaxStreams),
			grpc.MaxHeaderListSize(maxHeaderBytes),
			grpc.ConnectionTimeout(connectionTimeout),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
			grpc.KeepaliveParams(keepalive.ServerParameters{
				Time: idlePing, Timeout: pingTimeout,
				MaxConnectionIdle: maxIdle, MaxConnectionAge: age, MaxConnectionAgeGrace: maxAgeGrace,
			}),
			// Stop means that no handler runs any more: stores are closed after it.
			grpc.WaitForHandlers(true),
		),
		health:  health.NewServer(),
		clock:   chain.deps.Clock,
		stopped: make(chan struct{}),
	}
	// The watches of health outlive every call and would hold up a graceful stop; they end with this context instead.
	draining, drain := context.WithCancel(context.Background()) //nolint:forbidigo // lives as long as the server
	s.drain = drain
	s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(s.server, &drainingHealth{Server: s.health, draining: draining})
	reflection.Register(s.server)
	return s
}

// RegisterService adds a service; before Serve only.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	validate.Warm(desc.ServiceName)
	s.server.RegisterService(desc, implementation)
}

// GetServiceInfo is what reflection lists.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.server.GetServiceInfo() }

// SetServing says by the health protocol whether a service should be called; the empty name is the server as a whole. Clients
// that balance stop calling a server that is not serving, so this comes before Stop. After Stop it does nothing.
func (s *Server) SetServing(service string, serving bool) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if serving {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, status)
}

// Serve takes calls from the listener, and closes it, until Stop. After Stop it returns nil.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

// Stop takes no new calls, waits for those that run until ctx ends, then ends their contexts and waits two
// seconds more for their handlers to return. The error says that some had to be cut off. It may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		s.health.Shutdown()
		s.drain()
		go func() {
			defer close(s.stopped)
			s.server.GracefulStop()
		}()
	})
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	go s.server.Stop()
	timer := s.clock.NewTimer(cutOffGrace)
	defer timer.Stop()
	select {
	case <-s.stopped:
		return fmt.Errorf("stop gRPC server: calls were cut off: %w", cause)
	case <-timer.C():
		return fmt.Errorf("stop gRPC server: handlers ignore the end of their calls: %w", cause)
	}
}

// drainingHealth is the health service whose watches end when the server drains.
type drainingHealth struct {
	*health.Server
	draining context.Context
}

// Watch reports changes until the caller leaves or the server drains.
func (h *drainingHealth) Watch(request *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.draining, cancel)()
	return h.Server.Watch(request, &watch{Health_WatchServer: stream, ctx: ctx})
}

type watch struct {
	grpc_health_v1.Health_WatchServer
	ctx context.Context
}

func (w *watch) Context() context.Context { return w.ctx }
