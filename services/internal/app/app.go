package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/mtls"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

// stopWithin is how long a stop may take: what is in flight is finished, what
// is not finished then is taken up by the next start.
const stopWithin = 25 * time.Second

// process is what the roles of one process share, and what must be closed.
type process struct {
	options Options
	plan    plan
	clock   clock.Clock
	ids     *id.Source
	box     *secretbox.Box
	logger  *slog.Logger
	metrics *prometheus.Registry
	tracing *telemetry.Tracing
	ready   *readiness
	inside  *grpcserver.InProcess
	network *grpcserver.Server
	workers *lifecycle.Supervisor
	remote  map[string]*grpc.ClientConn
	lookup  *auth.Instances
	closers lifecycle.Closers
	// failed is told what a running process cannot go on without.
	failed chan error
}

// Run starts the roles, serves until ctx ends, and stops them: not ready,
// a wait for balancers, no new work, then what is in flight, 25 seconds at
// most. What fails while it runs stops it too, and is the error.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Settings.Validate(); err != nil {
		return err
	}
	p, err := newProcess(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err = errors.Join(err, p.closers.Close(deadline))
	}()
	running, err := p.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while it waited for a store
		}
		return err
	}
	p.ready.start()
	p.network.SetServing("", true)
	p.logger.LogAttrs(ctx, slog.LevelInfo, "ready", slog.Any("roles", p.plan.local))
	if o.Ready != nil {
		o.Ready(running)
	}
	select {
	case <-ctx.Done():
	case err = <-p.failed:
	}
	p.ready.leave()
	p.network.SetServing("", false)
	p.logger.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "stopping")
	if err == nil && o.Settings.DrainDelay > 0 {
		timer := p.clock.NewTimer(o.Settings.DrainDelay)
		defer timer.Stop()
		select {
		case <-timer.C():
		case err = <-p.failed:
		}
	}
	return err
}

// newLogger is the log that the options ask for.
func newLogger(o Options) (*slog.Logger, error) {
	format := o.Settings.LogFormat
	if format == "auto" {
		format = "json"
		if o.Terminal {
			format = "text"
		}
	}
	return telemetry.NewLogger(o.Log, o.Settings.LogLevel, format)
}

// newProcess makes what the roles share. Nothing listens yet.
func newProcess(ctx context.Context, o Options) (*process, error) {
	plan, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	logger, err := newLogger(o)
	if err != nil {
		return nil, err
	}
	box, err := secretBox(o)
	if err != nil {
		return nil, err
	}
	tracing, err := telemetry.NewTracerProvider(ctx, o.Settings.OTLPEndpoint, "prosa")
	if err != nil {
		return nil, err
	}
	p := &process{
		options: o,
		plan:    plan,
		clock:   clock.System(),
		box:     box,
		logger:  logger,
		metrics: telemetry.NewRegistry(),
		tracing: tracing,
		ready:   &readiness{},
		remote:  map[string]*grpc.ClientConn{},
		failed:  make(chan error, 1),
	}
	p.ids = id.NewSource(p.clock, nil)
	p.closers.Push("traces", tracing.Shutdown)
	return p, nil
}

// start starts everything, what is called before its callers.
func (p *process) start(ctx context.Context) (Running, error) {
	s := &p.options.Settings
	operations := newOperations(p.ready, p.metrics, s.Pprof)
	if _, err := p.serveHTTP(ctx, "operations", s.MetricsAddr, operations); err != nil {
		return Running{}, err
	}
	if err := p.connect(); err != nil {
		return Running{}, err
	}
	running, err := p.startRoles(ctx)
	if err != nil {
		return Running{}, err
	}
	if err := p.serveGRPC(ctx, s.GRPCAddr); err != nil {
		return Running{}, err
	}
	if p.plan.runs(roleGateway) {
		if running.HTTPAddr, err = p.startGateway(ctx); err != nil {
			return Running{}, err
		}
	}
	return running, nil
}

// connect makes the chain, the servers within and on the network, and the
// connections to roles elsewhere.
func (p *process) connect() error {
	s := &p.options.Settings
	files := mtls.Files{Cert: s.TLSCert, Key: s.TLSKey, CA: s.TLSCA}
	serverOptions := grpcserver.Options{TrustNetwork: s.InsecureInternal}
	clientOptions := grpcclient.Options{}
	if files.Set() {
		var err error
		if serverOptions.Credentials, err = files.Server(); err != nil {
			return err
		}
		if clientOptions.Credentials, err = files.Client(""); err != nil {
			return err
		}
	}

	// The chain asks accounts whose a key is, and accounts may be behind it.
	identity := &grpcclient.Late{}
	identityClient := accountsv1.NewIdentityServiceClient(identity)
	p.lookup = auth.NewInstances(identityClient, p.clock)
	deps := grpcserver.ChainDeps{
		Logger:   p.logger,
		Clock:    p.clock,
		IDs:      p.ids,
		Metrics:  p.metrics,
		Verifier: auth.NewVerifier(identityClient, p.clock),
	}
	if p.tracing.Enabled {
		deps.Tracer = p.tracing.Provider
	}
	chain := grpcserver.NewChain(deps)
	p.inside = grpcserver.NewInProcess(chain)
	p.network = grpcserver.New(chain, serverOptions)
	for _, role := range p.plan.remote {
		conn, err := grpcclient.Dial(s.Target(role), clientOptions)
		if err != nil {
			return err
		}
		conn.Connect()
		p.remote[role] = conn
		p.ready.watch(role, askHealth(conn))
		p.closers.Push("connection to "+role, func(context.Context) error { return conn.Close() })
	}
	identity.Bind(p.services(roleAccounts))
	return nil
}

// serveGRPC lets others call the roles of this process.
func (p *process) serveGRPC(ctx context.Context, addr string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	go p.fail("serve gRPC", func() error { return p.network.Serve(listener) })
	p.closers.Push("calls within the process", p.inside.Stop)
	p.closers.Push("gRPC server", p.network.Stop)
	return nil
}

// serveHTTP serves on an address and gives the one it got.
func (p *process) serveHTTP(ctx context.Context, name, addr string, server *http.Server) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen for %s: %w", name, err)
	}
	go p.fail("serve "+name, func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	p.closers.Push(name+" server", server.Shutdown)
	return listener.Addr().String(), nil
}

// fail runs something that the process cannot go on without, and says so when
// it ends with an error.
func (p *process) fail(name string, run func() error) {
	if err := run(); err != nil {
		select {
		case p.failed <- fmt.Errorf("%s: %w", name, err):
		default: // one reason to stop is enough
		}
	}
}
