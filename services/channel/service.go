// Package channel is the edge of Prosa: it takes customers' messages, has the
// agent answer them, and delivers the answers to webhooks.
package channel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/answers"
	"github.com/prosa-chat/prosa/services/channel/internal/botapis"
	"github.com/prosa-chat/prosa/services/channel/internal/channels"
	"github.com/prosa-chat/prosa/services/channel/internal/check"
	"github.com/prosa-chat/prosa/services/channel/internal/deliveries"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/gate"
	"github.com/prosa-chat/prosa/services/channel/internal/inbound"
	"github.com/prosa-chat/prosa/services/channel/internal/outbox"
	"github.com/prosa-chat/prosa/services/channel/internal/person"
	"github.com/prosa-chat/prosa/services/channel/internal/redeliveries"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/channel/internal/tracing"
	"github.com/prosa-chat/prosa/services/channel/internal/turns"
	"github.com/prosa-chat/prosa/services/channel/internal/upkeep"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/replica"
	"github.com/prosa-chat/prosa/services/internal/retention"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Instances says which instances there are; auth.Instances does.
type Instances = channels.Instances

// Deps are what the service works with. All but Tracer and Rand are required.
type Deps struct {
	DB      *sqldb.DB
	Clock   clock.Clock
	IDs     *id.Source
	Box     *secretbox.Box
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Tracer makes the spans of turns and attempts. Nil, or one that keeps
	// nothing, makes none, and nothing of traces is stored or sent.
	Tracer trace.TracerProvider
	Agent  agentv1.TurnServiceClient
	// Replies takes what people say in the agent's place.
	Replies   agentv1.ReplyTurnServiceClient
	Instances Instances
	// Persons does in the other services what a person may ask for by law.
	Persons agentv1.PersonServiceClient
	// ErasureLog keeps erasures apart from the stores. Nil keeps them nowhere else.
	ErasureLog *erasure.Log
	// Guard decides which webhooks may be called.
	Guard *egress.Guard
	// Version is Prosa's, for the User-Agent.
	Version string
	// Rand spreads retries over time; it must be safe for concurrent use. Nil
	// is the process's own source.
	Rand webhook.Rand
}

// Service is the channel service.
type Service struct {
	store    *store.Store
	channels *channels.Server
	botAPIs  *botapis.Server
	inbound  *inbound.Server
	bots     *inbound.BotServer
	replies  *inbound.ReplyServer
	outbox   *outbox.Server
	persons  *person.Server
	workers  []lifecycle.Worker
}

// Migrations is the schema of the service's store.
func Migrations() fs.FS { return migrations.FS }

// processRand is the process's own source of randomness.
type processRand struct{}

func (processRand) Float64() float64 { return rand.Float64() }

// noTurns is in the place of the turn worker when turns are off.
type noTurns struct{}

func (noTurns) Reserve(string) (time.Time, bool) { return time.Time{}, false }
func (noTurns) Unreserve(string)                 {}
func (noTurns) Queued(string)                    {}
func (noTurns) Start(store.Thread)               {}

// New puts the service together. It touches nothing outside of the process.
func New(config Config, deps Deps) (*Service, error) {
	config = config.withDefaults()
	if deps.Rand == nil {
		deps.Rand = processRand{}
	}
	fellows, err := replica.New(replica.Options{
		Store: "channel", DB: deps.DB, IDs: deps.IDs, Clock: deps.Clock, Logger: deps.Logger, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("register metrics of channel: %w", err)
	}
	rows := store.NewShared(deps.DB, fellows.Token)
	known := directory.New(rows, deps.Box, deps.Clock, func(id string) { fellows.Tell(topicEndpoint, id) })
	tokens := inbound.NewTokens(deps.Box.Derive("channel/inbound-token"))
	botTokens := inbound.NewTokens(deps.Box.Derive("channel/bot-token"))
	fingerprints := deps.Box.Derive("channel/fingerprint")
	count := deliveries.NewCount()
	if err := metric.Register(deps.Metrics, count, upkeep.NewGauges(rows, deps.Clock)); err != nil {
		return nil, fmt.Errorf("register metrics of channel: %w", err)
	}
	doors, err := gate.New(gate.Limits{Endpoint: config.EndpointRate, Refused: config.RefusedRate}, deps.Clock, deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("make gate: %w", err)
	}
	erased := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "prosa_channel_messages_erased_total", Help: "Accepted messages that were not answered because their person was erased.",
	})
	if err := metric.Register(deps.Metrics, erased); err != nil {
		return nil, fmt.Errorf("register metrics of channel: %w", err)
	}
	recovery := &recovery{store: rows, clock: deps.Clock}
	tracer := tracing.New(deps.Tracer)

	deliverer, err := deliveries.New(deliveries.Config{
		Pool: config.DeliveryPool, PerEndpoint: config.DeliveriesPerEndpoint, Lease: config.DeliveryLease,
		Poll: config.Poll, Grace: config.StopGrace, Schedule: config.Schedule, UserAgent: "Prosa/" + deps.Version,
	}, deliveries.Deps{
		Store: rows, Client: deps.Guard.Client(egress.Options{MaxIdleConnsPerHost: config.DeliveryPool}), Directory: known,
		Clock: deps.Clock, Rand: deps.Rand, Logger: deps.Logger, Metrics: deps.Metrics, Tracer: tracer, Count: count, Recover: recovery.run,
		Full: func(e store.Endpoint) { fellows.Tell(topicLanes, subject(e)) }, Alone: rows.Exclusive(),
	})
	if err != nil {
		return nil, fmt.Errorf("make delivery worker: %w", err)
	}
	again, err := redeliveries.New(redeliveries.Config{
		Pool: config.RedeliveryPool, PerEndpoint: config.RedeliveriesPerEndpoint, Lease: config.DeliveryLease, Poll: config.Poll,
		Grace: config.StopGrace, Schedule: config.Schedule,
	}, redeliveries.Deps{
		Store: rows, Exchange: deliverer, Directory: known, Clock: deps.Clock, Rand: deps.Rand, Logger: deps.Logger, Metrics: deps.Metrics,
		Recover: recovery.run,
	})
	if err != nil {
		return nil, fmt.Errorf("make redelivery worker: %w", err)
	}
	reaper, err := upkeep.NewReaper(rows, deps.DB, fellows.Holder(), deps.Clock, deps.Logger, 4*config.Poll, count, deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("make reaper: %w", err)
	}
	resumed := func(e store.Endpoint) {
		deliverer.Resumed(e)
		fellows.Tell(topicResumed, subject(e))
	}
	s := &Service{
		store:   rows,
		workers: []lifecycle.Worker{fellows, deliverer, again, reaper, idempotency.NewSweeper("channel", deps.DB, deps.Clock, fellows.Holder())},
		channels: channels.New(channels.Deps{
			Store: rows, Directory: known, Tokens: tokens, Agents: deps.Agent, Instances: deps.Instances, Guard: deps.Guard, Box: deps.Box,
			PageTokens: pagetoken.New(deps.Box.Derive("channel/page-token"), deps.Clock), Clock: deps.Clock, IDs: deps.IDs,
			Checker: check.New(check.Deps{
				NewClient: func() *http.Client { return deps.Guard.Client(egress.Options{}) }, Clock: deps.Clock, IDs: deps.IDs, UserAgent: "Prosa/" + deps.Version,
			}),
			Answers: answers.Keeper{Box: deps.Box, Secret: fingerprints}, Due: resumed, Deleted: reaper.Wake,
		}),
	}
	s.botAPIs = botapis.New(botapis.Deps{
		Store: rows, Directory: known, Tokens: botTokens, Agents: deps.Agent, Instances: deps.Instances, Guard: deps.Guard, Box: deps.Box,
		PageTokens: s.channels.PageTokens, Clock: deps.Clock, IDs: deps.IDs, Answers: s.channels.Answers, Due: resumed, Deleted: reaper.Wake,
	})
	s.outbox = outbox.New(outbox.Deps{
		Store: rows, Instances: deps.Instances, PageTokens: s.channels.PageTokens, Clock: deps.Clock, Count: count, Resumed: resumed,
		Again: again.Wake,
	})
	scrubber := erasure.NewScrubber("channel", deps.DB, deps.Clock, deps.Logger)
	s.persons = person.New(person.Deps{
		Store: rows, Agent: deps.Persons, Instances: deps.Instances, Hasher: erasure.NewHasher(deps.Box), Scrubber: scrubber,
		PageTokens: s.channels.PageTokens, Clock: deps.Clock, Logger: deps.Logger, Log: deps.ErasureLog,
		Workers:  person.Workers{Turns: func(store.ThreadKey) {}, Deliveries: deliverer.Revoke, Redeliveries: again.Revoke},
		Messages: erased, Deliveries: count.WithLabelValues("erased"),
	})
	recovery.restore = s.persons.RestoreHere
	keeper, err := retention.NewWorker(retention.Deps{
		Service: "channel", DB: deps.DB, Store: rows, Instances: deps.Instances, Clock: deps.Clock, Logger: deps.Logger, Holder: fellows.Holder(),
		Kinds: store.RetiredKinds(), Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("register metrics of channel: %w", err)
	}
	s.workers = append(s.workers, scrubber, s.persons, keeper)
	fellows.WhenDead(func(ctx context.Context, tx sqldb.Tx, token int64) error {
		now := deps.Clock.Now()
		return rows.VoidLeasesOf(ctx, tx, token, now, now.Add(max(config.TurnLease, config.DeliveryLease)+clockDifference))
	})
	waiters := &inbound.Waiters{}
	fellows.On(topicAnswered, waiters.Look)
	fellows.On(topicEndpoint, known.Changed)
	fellows.On(topicLanes, func(about string) { deliverer.Offered(endpointOf(about)) })
	fellows.On(topicRedeliveries, func(string) { again.Wake() })
	fellows.On(topicResumed, func(about string) {
		if about != "" {
			deliverer.ResumedElsewhere(endpointOf(about))
		}
	})
	var turn inbound.Turns = noTurns{}
	if !config.TurnsOff {
		answerer, err := turns.New(turns.Config{
			Pool: config.TurnPool, Lease: config.TurnLease, Timeout: config.TurnTimeout, Poll: config.Poll, Grace: config.StopGrace,
		}, turns.Deps{
			Store: rows, Agent: deps.Agent, Replies: deps.Replies, Directory: known, Deliveries: deliverer, Clock: deps.Clock, IDs: deps.IDs, Rand: deps.Rand,
			Logger: deps.Logger, Metrics: deps.Metrics, Tracer: tracer, DeliveryCount: count, Recover: recovery.run,
			Erased: func(messages int64) { erased.Add(float64(messages)) },
			Full:   func(instance string) { fellows.Tell(topicThreads, instance) },
			Answered: func(endpoint *directory.Endpoint, messageID string, answer *agentv1.RunTurnResponse) {
				waiters.Answered(messageID, answer)
				if endpoint.CallerWaits() {
					fellows.Tell(topicAnswered, messageID)
				}
			},
		})
		if err != nil {
			return nil, fmt.Errorf("make turn worker: %w", err)
		}
		turn = answerer
		fellows.On(topicThreads, answerer.Offered)
		s.persons.Workers.Turns = answerer.Revoke
		s.workers = append(s.workers, answerer)
	}
	inbox, err := inbound.NewInbox(rows, turn, tracer, deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("make inbox: %w", err)
	}
	s.inbound = inbound.New(inbound.Deps{
		Inbox: inbox, Directory: known, Tokens: tokens, Gate: doors, Clock: deps.Clock, IDs: deps.IDs, Secret: fingerprints,
	})
	s.bots = inbound.NewBotServer(inbound.BotDeps{
		Inbox: inbox, Directory: known, Tokens: botTokens, Gate: doors, Store: rows, Agent: deps.Agent, Waiters: waiters, Clock: deps.Clock,
		IDs: deps.IDs, Secret: fingerprints, AnswerTimeout: config.AnswerTimeout, Poll: config.Poll,
	})
	s.replies = inbound.NewReplyServer(inbound.ReplyDeps{
		Inbox: inbox, Store: rows, Agent: deps.Replies, Clock: deps.Clock, IDs: deps.IDs, Secret: fingerprints,
	})
	return s, nil
}

// Register adds the service's RPCs to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	channelv1.RegisterChannelServiceServer(r, s.channels)
	channelv1.RegisterBotApiServiceServer(r, s.botAPIs)
	channelv1.RegisterDeliveryServiceServer(r, s.outbox)
	channelv1.RegisterPersonServiceServer(r, s.persons)
	channelv1.RegisterInboundServiceServer(r, s.inbound)
	channelv1.RegisterBotApiInboundServiceServer(r, s.bots)
	channelv1.RegisterReplyServiceServer(r, s.replies)
}

// Workers are what must run for messages to be answered and delivered.
func (s *Service) Workers() []lifecycle.Worker { return s.workers }

// Ready reports whether the service can take messages.
func (s *Service) Ready(ctx context.Context) error {
	return errors.Join(s.store.Ping(ctx), s.persons.Ready())
}

// Restore erases again who came back with older copies of the stores. It is to
// be called before the workers run; where it fails they try again.
func (s *Service) Restore(ctx context.Context) error { return s.persons.Restore(ctx) }

// recovery takes back, once and before the first claim, the leases that the
// process before this one left behind when it was killed, and what an older copy
// of the store has of persons who are erased.
type recovery struct {
	store   *store.Store
	clock   clock.Clock
	restore func(ctx context.Context) error

	mu   sync.Mutex
	done bool
}

func (r *recovery) run(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return nil
	}
	if err := r.restore(ctx); err != nil {
		return err
	}
	if r.store.Exclusive() {
		if err := r.store.VoidLeases(ctx, r.clock.Now()); err != nil {
			return fmt.Errorf("take back leases: %w", err)
		}
	}
	r.done = true
	return nil
}
