// Package gateway is the HTTP side of Prosa: it makes the REST surfaces of the contracts' google.api.http options, and answers
// every failure on them, wherever it arises, in the one form of its surface.
//
// grpc-gateway finds the route, fills in what the path carries and forwards the metadata. Bodies and query parameters are read
// here (see conn), because a surface that names every bad field at once needs more than the first error of a decoder.
//
// The gateway owns nothing and decides nothing about identity: credentials are passed on, and the services judge them.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/admission"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

const (
	// MaxBody is the largest body that is read, in bytes.
	MaxBody = 256 << 10
	// MaxImport is the same for an import of attendances, of which a thousand come at once. It is what a service takes in one call.
	MaxImport = 4 << 20
	// maxImports is how many imports are read and carried out at once; those beyond are asked to come back.
	maxImports = 4
	// MaxURL is the longest request target, in bytes.
	MaxURL = 2 << 10
	// MaxHeader is how much all header fields may take together, in bytes: names, values and four bytes a line.
	MaxHeader = 16 << 10
	// DefaultTimeout is how long a call may take when Config does not say.
	DefaultTimeout = 30 * time.Second
)

// Config is what an operator may choose. The zero value is the default.
type Config struct {
	// Timeout is how long a call may take, and the most that a Grpc-Timeout header may ask for. Zero is DefaultTimeout.
	Timeout time.Duration
	// AnswerTimeout is how long the channel service waits for the agent where an integration of the Bot API has the version V1: a
	// call there may take so much longer. Zero is DefaultTimeout.
	AnswerTimeout time.Duration
	// ChatTimeout is how long the agent service waits for a whole answer of the conversation API: a call there may take a little longer.
	// Zero is a minute.
	ChatTimeout time.Duration
	// Proxies are the addresses of those that speak for others: their X-Forwarded-For is believed. Empty: nobody's is.
	Proxies []netip.Prefix
}

// Deps are what the gateway is built from. All are required but the three that say so.
type Deps struct {
	// Connections to the services, in-process or over the network. A network connection should take answers of the size of the
	// largest page (grpc.MaxCallRecvMsgSize).
	Accounts, Channel, Agent, Contacts grpc.ClientConnInterface
	Clock                              clock.Clock
	// IDs makes the request ids of calls that bring none.
	IDs    *id.Source
	Logger *slog.Logger
	// Ready says what is missing before calls can be served; nil when nothing is.
	Ready func(context.Context) []Problem
	// OpenAPI is the document that /openapi.json serves, as JSON.
	OpenAPI []byte
	// Metrics is where the gateway registers its metrics. Optional.
	Metrics prometheus.Registerer
	// Tracing makes the spans. Optional: without it an incoming trace context is passed on as it is.
	Tracing trace.TracerProvider
}

// Gateway serves the REST surfaces. It is safe for concurrent use.
type Gateway struct {
	mux      *runtime.ServeMux
	bindings *bindings
	timeout  time.Duration
	// botTimeout is how long a call of the Bot API may take.
	botTimeout time.Duration
	// chatTimeout is how long a call for a whole answer of the conversation API may take.
	chatTimeout time.Duration
	chats       agentv1.ChatServiceClient
	proxies     []netip.Prefix
	clock       clock.Clock
	ids         *id.Source
	logger      *slog.Logger
	metrics     *metrics
	tracer      trace.Tracer // nil without tracing
	pages       map[string]http.Handler
	gates       [surfaces]*admission.Gate
	ready       func(context.Context) []Problem

	draining atomic.Bool
	refusing atomic.Bool
}

// New builds a gateway. It fails when a dependency is missing, or when a contract says something about HTTP that the gateway
// cannot do.
func New(cfg Config, deps Deps) (*Gateway, error) {
	switch {
	case deps.Accounts == nil || deps.Channel == nil || deps.Agent == nil || deps.Contacts == nil:
		return nil, errors.New("build gateway: a connection is missing")
	case deps.Clock == nil || deps.IDs == nil || deps.Logger == nil || deps.Ready == nil || len(deps.OpenAPI) == 0:
		return nil, errors.New("build gateway: a dependency is missing")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.AnswerTimeout <= 0 {
		cfg.AnswerTimeout = DefaultTimeout
	}
	if cfg.ChatTimeout <= 0 {
		cfg.ChatTimeout = defaultChatTimeout
	}
	bound, err := newBindings(services())
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		bindings: bound,
		timeout:  cfg.Timeout,
		// The wait begins when the message is stored.
		botTimeout:  cfg.Timeout + cfg.AnswerTimeout,
		chatTimeout: cfg.ChatTimeout + chatSlack,
		chats:       agentv1.NewChatServiceClient(deps.Agent),
		proxies:     cfg.Proxies,
		clock:       deps.Clock,
		ids:         deps.IDs,
		logger:      deps.Logger,
		ready:       deps.Ready,
		gates:       newGates(deps.Clock),
	}
	if g.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, err
	}
	if deps.Tracing != nil {
		g.tracer = deps.Tracing.Tracer("github.com/prosa-chat/prosa/services/gateway")
	}
	g.pages = g.newPages(deps.OpenAPI)
	if g.mux, err = g.newMux(deps); err != nil {
		return nil, err
	}
	return g, nil
}

// Handler is the gateway as an http.Handler; NewServer serves it.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serve) }

// Drain makes /readyz answer that the process is going away, so that balancers stop sending. Calls are still served.
func (g *Gateway) Drain() { g.draining.Store(true) }

// Hold answers every call with 503, /livez and /readyz excepted, until Admit: for a process that is not ready for calls yet. It
// must come before the first call.
func (g *Gateway) Hold() { g.refusing.Store(true) }

// Admit ends Hold.
func (g *Gateway) Admit() { g.refusing.Store(false) }

// Refuse answers every new call with 503, /livez and /readyz excepted. Calls in flight go on; http.Server.Shutdown waits for
// them.
func (g *Gateway) Refuse() {
	g.Drain()
	g.refusing.Store(true)
}
