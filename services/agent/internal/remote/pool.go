package remote

import (
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

const (
	// maxConnections is how many programs are kept connected; of those that no turn uses, the ones last used are.
	maxConnections = 256
	dialTimeout    = 10 * time.Second
	maxBackoff     = 5 * time.Second // a program that comes back is asked again soon
	maxHeader      = 64 << 10
)

// errNotNamed refuses plain text to an address that the operator does not mean.
var errNotNamed = errors.New("plain text is spoken to addresses only that are allowed by name")

// Secrets gives the values that definitions name.
type Secrets interface {
	// Secret is the value of an instance's secret. It is in no error.
	Secret(ctx context.Context, instance, name string) (string, error)
}

// Deps are what a Pool works with. All are required unless they say otherwise.
type Deps struct {
	// Guard judges every address that is dialled.
	Guard   *egress.Guard
	Secrets Secrets
	Clock   clock.Clock
	// RootCAs are the authorities trusted. Nil: those of the system.
	RootCAs *x509.CertPool
}

// Pool keeps connections to the programs of teams. It is safe for concurrent use. Run it, so that they are closed in the end.
type Pool struct {
	deps Deps

	mu     sync.Mutex
	closed bool
	byKey  map[key]*connection
	idle   *list.List // of *connection that nobody uses, last used first
}

type key struct {
	address string
	plain   bool
}

// connection is a connection, made when it is first needed, and again when it broke.
type connection struct {
	*grpc.ClientConn
	key     key
	users   int
	place   *list.Element // among the idle ones, nil when it is used
	refused atomic.Bool   // the guard refused the last address that was dialled
}

// NewPool returns a pool without connections.
func NewPool(deps Deps) *Pool {
	return &Pool{deps: deps, byKey: make(map[key]*connection), idle: list.New()}
}

// Engine is the engine of a definition with a remote.
func (p *Pool) Engine(program *flow.Program) engine.Engine {
	return &turnEngine{pool: p, program: program}
}

// Name names the worker.
func (p *Pool) Name() string { return "agent remotes" }

// Run closes the connections that nobody uses when ctx ends; the others are closed once their turns are done.
func (p *Pool) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.trim(0)
	return nil
}

// get is the connection to a program, and what gives it back.
func (p *Pool) get(settings *agentv1.Remote) (c *connection, release func(), err error) {
	address, err := ParseTarget(settings.GetTarget())
	if err != nil {
		return nil, nil, err
	}
	k := key{address, settings.GetInsecure()}
	p.mu.Lock()
	defer p.mu.Unlock()
	c = p.byKey[k]
	if c == nil {
		if c, err = p.connect(k); err != nil {
			return nil, nil, fmt.Errorf("connect: %w", err)
		}
		p.byKey[k] = c
	}
	if c.place != nil {
		p.idle.Remove(c.place)
		c.place = nil
	}
	c.users++
	return c, sync.OnceFunc(func() { p.release(c) }), nil
}

func (p *Pool) release(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.users--; c.users > 0 {
		return
	}
	c.place = p.idle.PushFront(c)
	if p.closed {
		p.trim(0)
	} else {
		p.trim(maxConnections)
	}
}

// trim closes idle connections until there are at most so many.
func (p *Pool) trim(limit int) {
	for p.idle.Len() > limit {
		c := p.idle.Remove(p.idle.Back()).(*connection)
		c.place = nil
		delete(p.byKey, c.key)
		_ = c.Close() // it is closed either way
	}
}

// connect makes a connection without dialling yet. No proxy is used, whatever the environment says, for it would resolve the name itself,
// and no instruction of the name's DNS zone is followed.
func (p *Pool) connect(k key) (*connection, error) {
	c := &connection{key: k}
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(network, address string, raw syscall.RawConn) error {
		err := p.control(k.plain, network, address, raw)
		c.refused.Store(err != nil)
		return err
	}}
	transport := insecure.NewCredentials()
	if !k.plain {
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.deps.RootCAs})
	}
	var err error
	c.ClientConn, err = grpc.NewClient("dns:///"+k.address,
		grpc.WithTransportCredentials(transport), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoffConfig(), MinConnectTimeout: dialTimeout}),
		grpc.WithMaxHeaderListSize(maxHeader), grpc.WithUserAgent("Prosa"),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
	)
	return c, err
}

func backoffConfig() backoff.Config {
	c := backoff.DefaultConfig
	c.MaxDelay = maxBackoff
	return c
}

func (p *Pool) control(plain bool, network, address string, raw syscall.RawConn) error {
	if err := p.deps.Guard.Control(network, address, raw); err != nil {
		return err
	}
	if !plain {
		return nil
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil || !p.deps.Guard.Named(target.Addr()) {
		return errNotNamed
	}
	return nil
}
