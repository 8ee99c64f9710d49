// Package agent is the service that answers: it keeps agents and their versions, runs the turns of conversations, and tells the
// contacts service what was said.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/call"
	"github.com/prosa-chat/prosa/services/agent/internal/conversation"
	"github.com/prosa-chat/prosa/services/agent/internal/dryrun"
	"github.com/prosa-chat/prosa/services/agent/internal/handoff"
	"github.com/prosa-chat/prosa/services/agent/internal/idle"
	"github.com/prosa-chat/prosa/services/agent/internal/past"
	"github.com/prosa-chat/prosa/services/agent/internal/person"
	"github.com/prosa-chat/prosa/services/agent/internal/program"
	"github.com/prosa-chat/prosa/services/agent/internal/record"
	"github.com/prosa-chat/prosa/services/agent/internal/registry"
	"github.com/prosa-chat/prosa/services/agent/internal/search"
	"github.com/prosa-chat/prosa/services/agent/internal/secret"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/replica"
	"github.com/prosa-chat/prosa/services/internal/retention"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// defaultMaxPrograms is how many compiled versions are kept in memory unless the operator says otherwise.
const defaultMaxPrograms = 512

// defaultChatTimeout is how long a caller waits for a whole answer unless the operator says otherwise.
const defaultChatTimeout = 60 * time.Second

// maxIndexBytes bounds, about, what the indexes of intents, answers and passages of all programs in memory take.
const maxIndexBytes = 64 << 20

// Config is what the operator decides.
type Config struct {
	// MaxPrograms is how many compiled versions of agents are kept in memory, those last used. Default: 512.
	MaxPrograms int
	// ChatTimeout is how long a caller of CompleteChat waits for the answer. Default: 60 s.
	ChatTimeout time.Duration
	// StopGrace is how long the turns of chat messages may go on when the process stops. Default: they are cut off at once, and the next
	// start runs them again.
	StopGrace time.Duration
}

// Instances looks instances up.
type Instances interface {
	// Get is the instance with the slug; it must not be changed. Errors: INSTANCE_NOT_FOUND, UNAVAILABLE.
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Deps is what the service works with. All are required unless they say otherwise.
type Deps struct {
	// DB is the service's own store, open, with Migrations.
	DB    *sqldb.DB
	Clock clock.Clock
	IDs   *id.Source
	// Box encrypts secrets, and gives the key for page tokens.
	Box    *secretbox.Box
	Logger *slog.Logger
	// Metrics gets the prosa_agent_… metrics. Nil keeps them to the service.
	Metrics prometheus.Registerer
	// Tracer makes a span of each run of a flow. Nil makes none.
	Tracer trace.TracerProvider
	// Contacts remembers attendances and turns.
	Contacts contactsv1.RecordServiceClient
	// Persons does in contacts what a person may ask for by law.
	Persons   contactsv1.PersonServiceClient
	Instances Instances
	// Guard says which systems agents may call. Nil: those on the public internet, by https.
	Guard *egress.Guard
	// Version is that of Prosa, for those systems.
	Version string
}

// Service is the agent service.
type Service struct {
	db         *sqldb.DB
	management *managementServer
	turns      *turnServer
	chats      *chatServer
	secrets    *secretServer
	handoffs   *handoff.Handoffs

	conversations *conversationServer

	persons *person.Server
	workers []lifecycle.Worker
}

// Migrations are the steps of the schema of the service's store.
func Migrations() fs.FS { return store.Migrations() }

// New puts the service together; it starts nothing. Errors: a metric that is registered already.
func New(cfg Config, deps Deps) (*Service, error) {
	if cfg.MaxPrograms <= 0 {
		cfg.MaxPrograms = defaultMaxPrograms
	}
	if cfg.ChatTimeout <= 0 {
		cfg.ChatTimeout = defaultChatTimeout
	}
	if deps.Tracer == nil {
		deps.Tracer = noop.NewTracerProvider()
	}
	if deps.Guard == nil {
		deps.Guard = egress.NewGuard(nil, false)
	}
	fellows, err := replica.New(replica.Options{
		Store: "agent", DB: deps.DB, IDs: deps.IDs, Clock: deps.Clock, Logger: deps.Logger, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	db := store.New(deps.DB)
	hasher, scrubber := erasure.NewHasher(deps.Box), erasure.NewScrubber("agent", deps.DB, deps.Clock, deps.Logger)
	turnMetrics, err := turn.NewMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	recordMetrics, err := record.NewMetrics(deps.Metrics, db, deps.Clock)
	if err = errors.Join(err, search.RegisterMetrics(deps.Metrics, db, deps.Clock)); err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	callMetrics, err := call.NewMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	tokens := pagetoken.New(deps.Box.Derive("agent/pagetoken"), deps.Clock)
	vault := secret.NewVault(db, deps.Clock, deps.Box, tokens)
	caller := call.NewCaller(call.Deps{
		Guard: deps.Guard, Secrets: vault, Clock: deps.Clock, Logger: deps.Logger, Tracer: deps.Tracer.Tracer("prosa.agent"),
		Metrics: callMetrics, Version: deps.Version,
	})
	models, err := newModels(deps, vault)
	if err != nil {
		return nil, err
	}
	remotes := newRemotes(deps, vault)
	recorder := record.NewRecorder(record.Deps{
		Store: db, Contacts: deps.Contacts, Clock: deps.Clock, Logger: deps.Logger, Metrics: recordMetrics, Holder: fellows.Holder(),
		Elsewhere: func() { fellows.Tell(topicRecords, someRecord) },
	})
	runner := turn.NewRunner(turn.Deps{
		Store: db, Programs: program.NewCache(db, cfg.MaxPrograms, maxIndexBytes), Attendances: deps.Contacts, Instances: deps.Instances,
		Clock: deps.Clock, IDs: deps.IDs, Logger: deps.Logger, Tracer: deps.Tracer.Tracer("prosa.agent"), Metrics: turnMetrics,
		Committed: recorder.Committed, Calls: caller, Hasher: hasher,
		Models: models, Past: past.Reader{Store: db}, Remotes: remotes,
	})
	silence, err := idle.NewWorker(idle.Deps{
		Store: db, DB: deps.DB, Holder: fellows.Holder(), Instances: deps.Instances, Clock: deps.Clock, Logger: deps.Logger, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	chats, err := newChats(cfg, deps, db, runner, fellows)
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	agents := registry.New(db, deps.Clock, deps.IDs, tokens, func(instance, agentID string) {
		runner.AgentChanged(instance, agentID)
		fellows.Tell(topicAgent, instance+"/"+agentID)
	})
	listen(fellows, recorder, runner, chats)
	dry := dryrun.NewRunner(dryrun.Deps{
		Agents: agents, Instances: deps.Instances, Clock: deps.Clock, IDs: deps.IDs, Box: deps.Box, Calls: caller,
		Models: models, Remotes: remotes,
	})
	keeper, err := retention.NewWorker(retention.Deps{
		Service: "agent", DB: deps.DB, Store: db, Instances: deps.Instances, Clock: deps.Clock, Logger: deps.Logger, Holder: fellows.Holder(),
		Kinds: []string{store.KindConversations, store.KindTurns}, Slack: retentionSlack, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	return &Service{
		persons: person.New(person.Deps{
			Store: db, Contacts: deps.Persons, Hasher: hasher, Scrubber: scrubber, Clock: deps.Clock,
		}),
		db:         deps.DB,
		management: &managementServer{agents: agents, instances: deps.Instances, dry: dry},
		turns:      &turnServer{runner: runner, agents: agents},
		chats:      newChatServer(cfg, deps, chats),
		secrets:    &secretServer{vault: vault, instances: deps.Instances},
		handoffs: handoff.New(handoff.Deps{
			Store: db, Clock: deps.Clock, Committed: recorder.Committed, Ended: recorder.Wake,
		}),
		conversations: &conversationServer{conversations: conversation.New(conversation.Deps{
			Store: db, Instances: deps.Instances, Clock: deps.Clock, IDs: deps.IDs, Tokens: tokens,
		})},
		workers: []lifecycle.Worker{fellows, recorder, silence, idempotency.NewSweeper("agent", deps.DB, deps.Clock, fellows.Holder()), scrubber, keeper, caller, models, remotes, chats, search.NewWorker(db, deps.Clock, deps.Logger)},
	}, nil
}

// retentionSlack is how much longer conversations are kept than an instance says: channel deletes its part first, which is found by them.
const retentionSlack = time.Hour

// Register offers the service's RPCs on a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	agentv1.RegisterAgentServiceServer(r, s.management)
	agentv1.RegisterTurnServiceServer(r, s.turns)
	agentv1.RegisterPersonServiceServer(r, s.persons)
	agentv1.RegisterChatServiceServer(r, s.chats)
	agentv1.RegisterConversationServiceServer(r, s.conversations)
	agentv1.RegisterSecretServiceServer(r, s.secrets)
	agentv1.RegisterHandoffServiceServer(r, &handoffServer{handoffs: s.handoffs})
	agentv1.RegisterReplyTurnServiceServer(r, &replyServer{handoffs: s.handoffs})
}

// Workers are what must run beside the RPCs.
func (s *Service) Workers() []lifecycle.Worker { return s.workers }

// Ready reports whether the service can answer, and if not, why.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.db.Ping(ctx); err != nil {
		return errors.Join(errors.New("agent: store does not answer"), err)
	}
	return nil
}
