package grpcserver

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

const nameTelemetry = "telemetry"

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/prosa-chat/prosa/services/internal/grpcserver"

// secondsBuckets resolve what a local store takes (under a millisecond) as well as a slow model (tens of seconds).
var secondsBuckets = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// observer keeps the rate, errors and duration of each method and makes a span of each call, a child of the caller's (W3C Trace
// Context). It is our own and not otelgrpc, which costs several microseconds a call even when nobody collects.
func observer(c clock.Clock, provider trace.TracerProvider, registerer prometheus.Registerer) *observation {
	o := &observation{clock: c, metrics: newRPCMetrics(registerer)}
	if _, isNoop := provider.(noop.TracerProvider); provider != nil && !isNoop {
		o.tracer = provider.Tracer(tracerName)
	}
	return o
}

// link is the observer on a transport that vouches for its callers as internal says. Whoever calls may name the trace that a call
// belongs to; only a service may say that it is not to be kept.
func (o *observation) link(internal trust) interceptor {
	return interceptor{
		name: nameTelemetry,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			ctx, finish := o.begin(ctx, info.FullMethod, internal)
			// Deferred, so that a call which panics its way out is counted too.
			err := errPanicked
			defer func() { finish(err) }()
			var response any
			response, err = handler(ctx, request)
			return response, err
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			ctx, finish := o.begin(stream.Context(), info.FullMethod, internal)
			err := errPanicked
			defer func() { finish(err) }()
			err = handler(server, withContext(ctx, stream))
			return err
		},
	}
}

// errPanicked stands for the error of a call that ends by a panic in a link.
var errPanicked = errors.New("panic")

type observation struct {
	clock   clock.Clock
	metrics *rpcMetrics
	tracer  trace.Tracer // nil: no spans
}

func (o *observation) begin(ctx context.Context, fullMethod string, internal trust) (context.Context, func(error)) {
	began := o.clock.Now()
	if named := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(named) == 1 {
		if o.tracer == nil || internal(ctx) {
			ctx = telemetry.WithParent(ctx, named[0])
		} else {
			ctx = telemetry.WithStranger(ctx, named[0])
		}
	}
	var span trace.Span
	if o.tracer != nil {
		ctx, span = o.startSpan(ctx, fullMethod)
	}
	return ctx, func(err error) {
		code := status.Code(err)
		o.metrics.observe(fullMethod, code, o.clock.Now().Sub(began))
		if span != nil {
			span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(code)))
			if serverFault(code) {
				span.SetStatus(otelcodes.Error, code.String())
			}
			span.End()
		}
	}
}

func (o *observation) startSpan(ctx context.Context, fullMethod string) (context.Context, trace.Span) {
	name := shortMethod(fullMethod)
	service, method, _ := strings.Cut(name, "/")
	return o.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("rpc.system", "grpc"),
		attribute.String("rpc.service", service),
		attribute.String("rpc.method", method),
		attribute.String("prosa.request_id", RequestID(ctx)),
	))
}

// rpcMetrics are the RED metrics. A nil one keeps nothing.
type rpcMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	methods  sync.Map // full method → *methodMetrics: spares the hot path two look-ups by label
}

type methodMetrics struct {
	ok      prometheus.Counter
	seconds prometheus.Observer
}

func newRPCMetrics(registerer prometheus.Registerer) *rpcMetrics {
	if registerer == nil {
		return nil
	}
	return &rpcMetrics{
		requests: register(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_rpc_requests_total", Help: "Finished RPCs by method and gRPC code.",
		}, []string{"method", "code"})),
		seconds: register(registerer, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "prosa_rpc_seconds", Help: "Time from the arrival of an RPC to its answer, in seconds.", Buckets: secondsBuckets,
		}, []string{"method"})),
	}
}

// register registers the collector, or finds the one that another chain of the process registered before.
func register[C prometheus.Collector](registerer prometheus.Registerer, collector C) C {
	shared, err := metric.Shared(registerer, collector)
	if err != nil {
		panic(err) // the names above are wrong
	}
	return shared
}

func (m *rpcMetrics) observe(fullMethod string, code codes.Code, d time.Duration) {
	if m == nil {
		return
	}
	cached, ok := m.methods.Load(fullMethod)
	if !ok {
		name := shortMethod(fullMethod)
		cached, _ = m.methods.LoadOrStore(fullMethod, &methodMetrics{
			ok: m.requests.WithLabelValues(name, codes.OK.String()), seconds: m.seconds.WithLabelValues(name),
		})
	}
	method := cached.(*methodMetrics)
	if code == codes.OK {
		method.ok.Inc()
	} else {
		m.requests.WithLabelValues(shortMethod(fullMethod), code.String()).Inc()
	}
	method.seconds.Observe(d.Seconds())
}

// shortMethod is the full method without its first slash: "prosa.channel.v1.InboundService/ReceiveMessage".
func shortMethod(fullMethod string) string { return strings.TrimPrefix(fullMethod, "/") }

// serverFault reports whether a code tells of our fault and not of the caller's.
func serverFault(code codes.Code) bool {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unavailable, codes.DeadlineExceeded, codes.Unimplemented:
		return true
	default:
		return false
	}
}
