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
	"github.com/prosa-chat/prosa/services/internal/quota/redisquota"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

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
	redis   *redisquota.Counter // nil without redis-url
	closers lifecycle.Closers
	serving bool
	// failed is told what a running process cannot go on without.
	failed chan error
}

// Run starts the roles, serves until ctx ends, and stops them: not ready,
// a wait for balancers, no new work, then what is in flight, 25 seconds at
// most. What fails while it runs stops it too, and is the error.
func Run(ctx context.Context, o Options) error {
	if err := o.Settings.Validate(); err != nil {
		return err
	}
	p, err := newProcess(ctx, o)
	if err != nil {
		return err
	}
	err = p.serve(ctx)
	return errors.Join(err, p.stop(context.WithoutCancel(ctx), err != nil))
}

// serve starts everything and returns when it is to be stopped.
func (p *process) serve(ctx context.Context) error {
	running, err := p.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop while it waited for a store
		}
		return err
	}
	p.serving = true
	p.ready.start()
	p.network.SetServing("", true)
	p.logger.LogAttrs(ctx, slog.LevelInfo, "ready", slog.Any("roles", p.plan.local))
	if p.options.Ready != nil {
		p.options.Ready(running)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return err
	}
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

// telemetryWithin is how long a stop waits for a collector.
const telemetryWithin = 2 * time.Second

// briefly has what is left of telemetry sent: a collector that does not answer neither keeps a process from stopping nor makes it fail.
func (p *process) briefly(what string, shutdown func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, telemetryWithin)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			p.logger.LogAttrs(ctx, slog.LevelWarn, "send the last "+what, slog.Any("error", err))
		}
		return nil
	}
}

// serviceName is what traces and metrics call every process.
const serviceName = "prosa"

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
	var box *secretbox.Box
	if plan.stores() { // the gateway keeps nothing, and needs no folder
		if box, err = secretBox(o); err != nil {
			return nil, err
		}
	}
	ids, metrics := id.NewSource(clock.System(), nil), telemetry.NewRegistry()
	self := ids.New()
	tracing, err := telemetry.NewTracerProvider(ctx, o.Settings.OTLPEndpoint, serviceName, self, o.Settings.TraceRatio)
	if err != nil {
		return nil, err
	}
	endMetrics, err := telemetry.SendMetrics(ctx, o.Settings.OTLPEndpoint, serviceName, self, metrics)
	if err != nil {
		return nil, err
	}
	p := &process{
		options: o,
		plan:    plan,
		clock:   clock.System(),
		box:     box,
		logger:  logger,
		metrics: metrics,
		ids:     ids,
		tracing: tracing,
		ready:   &readiness{},
		remote:  map[string]*grpc.ClientConn{},
		failed:  make(chan error, 1),
	}
	p.closers.Push("traces", p.briefly("traces", tracing.Shutdown))
	p.closers.Push("metrics", p.briefly("metrics", endMetrics))
	return p, nil
}

// start starts everything, what is called before its callers.
func (p *process) start(ctx context.Context) (Running, error) {
	s := &p.options.Settings
	operations := newOperations(p.ready, p.metrics, s.Pprof)
	operations.ErrorLog = slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug)
	metricsAddr, shutDown, err := p.serveHTTP(ctx, "operations", s.MetricsAddr, operations)
	if err != nil {
		return Running{}, err
	}
	p.closers.Push("operations server", shutDown)
	if err := p.connect(); err != nil {
		return Running{}, err
	}
	// The gateway listens before the stores are open, so that whoever asks for
	// health there hears what is missing.
	var front *frontDoor
	if p.plan.runs(roleGateway) {
		if front, err = p.startGateway(ctx); err != nil {
			return Running{}, err
		}
	}
	running, err := p.startRoles(ctx)
	if err != nil {
		return Running{}, err
	}
	running.MetricsAddr = metricsAddr
	if running.GRPCAddr, err = p.serveGRPC(ctx, s.GRPCAddr); err != nil {
		return Running{}, err
	}
	if front != nil {
		running.HTTPAddr = front.open(p)
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
	var err error
	if deps.Quotas, err = p.quotas(accountsv1.NewMeterServiceClient(identity)); err != nil {
		return err
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

// serveGRPC lets others call the roles of this process, on an address of which
// it gives the one it got.
func (p *process) serveGRPC(ctx context.Context, addr string) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen for gRPC: %w", err)
	}
	go p.fail("serve gRPC", func() error { return p.network.Serve(listener) })
	p.closers.Push("gRPC server", p.cutOff("gRPC server", callsShare, p.network.Stop))
	return listener.Addr().String(), nil
}

// serveHTTP serves on an address, and gives the one it got and what ends it,
// which may be called more than once.
func (p *process) serveHTTP(ctx context.Context, name, addr string, server *http.Server) (got string, shutDown func(context.Context) error, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	go p.fail("serve "+name, func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return listener.Addr().String(), p.cutOff(name+" server", requestsShare, func(ctx context.Context) error {
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	}), nil
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
