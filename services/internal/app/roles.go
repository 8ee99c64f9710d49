package app

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/gen/openapi"
	"github.com/prosa-chat/prosa/services/accounts"
	"github.com/prosa-chat/prosa/services/agent"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/contacts"
	"github.com/prosa-chat/prosa/services/gateway"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// service is what every role with RPCs is.
type service interface {
	Register(r grpc.ServiceRegistrar)
	Workers() []lifecycle.Worker
	Ready(ctx context.Context) error
}

// errStoreFailed ends the process: what was acknowledged is on disk, and only
// a new start can tell what else is.
var errStoreFailed = errors.New("the store failed; start again to recover")

// services is the connection by which this process's services call a role.
func (p *process) services(role string) grpc.ClientConnInterface {
	if p.plan.runs(role) {
		return p.inside.Services()
	}
	return p.remote[role]
}

// public is the connection by which the gateway, speaking for strangers, calls
// a role.
func (p *process) public(role string) grpc.ClientConnInterface {
	if p.plan.runs(role) {
		return p.inside.Public()
	}
	return p.remote[role]
}

// startRoles opens the stores, puts the services together and starts their
// workers.
func (p *process) startRoles(ctx context.Context) (Running, error) {
	var running Running
	var err error
	if p.plan.runs(roleAccounts) {
		if running.RootKey, err = rootKey(p.options); err != nil {
			return running, err
		}
	}
	var services []service
	for _, role := range p.plan.local {
		if role == roleGateway {
			continue
		}
		service, err := p.newService(ctx, role, running)
		if err != nil {
			return running, err
		}
		service.Register(p.inside)
		service.Register(p.network)
		p.ready.watch(role, func(ctx context.Context) error {
			if service.Ready(ctx) != nil {
				return errNoStore
			}
			return nil
		})
		services = append(services, service)
	}
	// The workers call services of this process, and handlers outlive callers
	// that went away: so first the workers end, then the calls, then the stores.
	p.closers.Push("calls within the process", p.inside.Stop)
	p.workers = lifecycle.NewSupervisor(p.logger, p.clock)
	p.closers.Push("workers", p.cutOff("workers", workersShare, p.workers.Stop))
	p.restoreErasures(ctx, services)
	for _, service := range services {
		for _, worker := range service.Workers() {
			if err := p.workers.Go(worker); err != nil {
				return running, err
			}
		}
	}
	return running, nil
}

// newService opens a role's store and makes the role.
func (p *process) newService(ctx context.Context, role string, running Running) (service, error) {
	db, err := openStore(ctx, storeOptions(&p.options.Settings, role, p.clock, p.logger, p.metrics), p.ready)
	if err != nil {
		return nil, err
	}
	p.closers.Push("store of "+role, func(context.Context) error { return db.Close() })
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	p.closers.Push("watch over the store of "+role, func(context.Context) error { stopWatching(); return nil })
	go p.fail(role, func() error {
		select {
		case <-db.Failed():
			return errStoreFailed
		case <-watching.Done():
			return nil
		}
	})
	switch role {
	case roleAccounts:
		return p.newAccounts(db, running.RootKey)
	case roleContacts:
		return p.newContacts(db)
	case roleAgent:
		return p.newAgent(db)
	case roleChannel:
		return p.newChannel(db)
	default:
		return nil, fmt.Errorf("no such role: %s", role)
	}
}

func (p *process) newAccounts(db *sqldb.DB, rootKey string) (service, error) {
	deps := accounts.Deps{DB: db, Clock: p.clock, IDs: p.ids, Box: p.box, Logger: p.logger, Metrics: p.metrics}
	if p.redis != nil {
		deps.Counts = p.redis
	}
	return accounts.New(accounts.Config{RootKey: rootKey, Limits: keyLimits(&p.options.Settings)}, deps)
}

func (p *process) newContacts(db *sqldb.DB) (service, error) {
	return contacts.New(contacts.Config{}, contacts.Deps{
		DB: db, Clock: p.clock, IDs: p.ids, Box: p.box, Logger: p.logger, Metrics: p.metrics, Instances: p.lookup,
	})
}

func (p *process) newAgent(db *sqldb.DB) (service, error) {
	allowed, err := p.options.Settings.EgressPrefixes()
	if err != nil {
		return nil, err
	}
	return agent.New(agent.Config{ChatTimeout: p.options.Settings.ChatTimeout, StopGrace: p.workersGrace()}, agent.Deps{
		DB: db, Clock: p.clock, IDs: p.ids, Box: p.box, Logger: p.logger, Metrics: p.metrics,
		Tracer:    p.tracing.Provider,
		Contacts:  contactsv1.NewRecordServiceClient(p.services(roleContacts)),
		Persons:   contactsv1.NewPersonServiceClient(p.services(roleContacts)),
		Instances: p.lookup,
		Guard:     egress.NewGuard(allowed, p.options.Settings.EgressHTTP),
		Version:   p.options.Version,
	})
}

func (p *process) newChannel(db *sqldb.DB) (service, error) {
	s := &p.options.Settings
	allowed, err := s.EgressPrefixes()
	if err != nil {
		return nil, err
	}
	log, err := p.erasureLog(db)
	if err != nil {
		return nil, err
	}
	deps := channel.Deps{
		DB: db, Clock: p.clock, IDs: p.ids, Box: p.box, Logger: p.logger, Metrics: p.metrics,
		Agent:      agentv1.NewTurnServiceClient(p.services(roleAgent)),
		Persons:    agentv1.NewPersonServiceClient(p.services(roleAgent)),
		ErasureLog: log,
		Replies:    agentv1.NewReplyTurnServiceClient(p.services(roleAgent)),
		Instances:  p.lookup,
		Guard:      egress.NewGuard(allowed, s.EgressHTTP),
		Version:    p.options.Version,
	}
	if p.tracing.Enabled {
		deps.Tracer = p.tracing.Provider
	}
	return channel.New(channel.Config{
		TurnsOff:      !s.Turns,
		EndpointRate:  rateOf(s.InboundRate, s.InboundBurst),
		RefusedRate:   rateOf(s.RefusedRate, s.RefusedBurst),
		AnswerTimeout: s.AnswerTimeout,
		Schedule:      s.RetrySchedule,
		StopGrace:     p.workersGrace(),
	}, deps)
}

// rateOf is a limit as the services have it: there, zero is the default.
func rateOf(perSecond, burst int) ratelimit.Rate {
	if perSecond == 0 {
		perSecond = -1
	}
	return ratelimit.Rate{PerSecond: perSecond, Burst: burst}
}

// frontDoor is the gateway while it listens.
type frontDoor struct {
	gateway  *gateway.Gateway
	addr     string
	shutDown func(context.Context) error
}

// startGateway listens for the REST surfaces. Calls are held off until open.
func (p *process) startGateway(ctx context.Context) (*frontDoor, error) {
	deps := gateway.Deps{
		Accounts: p.public(roleAccounts),
		Channel:  p.public(roleChannel),
		Agent:    p.public(roleAgent),
		Contacts: p.public(roleContacts),
		Clock:    p.clock,
		IDs:      p.ids,
		Logger:   p.logger,
		Ready:    p.ready.problems,
		OpenAPI:  openapi.Document,
		Metrics:  p.metrics,
	}
	if p.tracing.Enabled {
		deps.Tracing = p.tracing.Provider
	}
	proxies, err := p.options.Settings.ProxyPrefixes()
	if err != nil {
		return nil, err
	}
	front, err := gateway.New(gateway.Config{
		AnswerTimeout: p.options.Settings.AnswerTimeout, ChatTimeout: p.options.Settings.ChatTimeout,
		Proxies: proxies,
	}, deps)
	if err != nil {
		return nil, err
	}
	front.Hold()
	addr, shutDown, err := p.serveHTTP(ctx, "gateway", p.options.Settings.HTTPAddr, front.NewServer())
	if err != nil {
		return nil, err
	}
	p.closers.Push("gateway server", shutDown) // for a start that fails
	return &frontDoor{gateway: front, addr: addr, shutDown: shutDown}, nil
}

// open lets calls in, once everything that they need has started; it is the
// first that closes. It gives the address.
func (f *frontDoor) open(p *process) string {
	p.closers.Push("gateway server", f.shutDown)
	p.closers.Push("new calls of the gateway", func(context.Context) error { f.gateway.Refuse(); return nil })
	f.gateway.Admit()
	return f.addr
}
