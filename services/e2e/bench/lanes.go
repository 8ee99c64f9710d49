package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// laneFigure measures what the order of deliveries costs: the channel service
// alone, in this process, once with a lane for each conversation and once with a
// lane for each message, so that no delivery waits for another. Lanes follow
// from what the agent calls a conversation, so an agent that calls every message
// one switches the order off, and the product needs no setting for it.
type laneFigure struct{ figure }

var orderedLanes = laneFigure{figure{name: "ordered lanes", must: 0.85, reach: 0.95}}

func (f laneFigure) measure(ctx context.Context, _ string, p plan) (result, error) {
	if p.postgres != "" {
		return result{}, errors.New("is measured on the embedded store")
	}
	ordered, err := startLanes(ctx, p, true)
	if err != nil {
		return result{}, err
	}
	defer ordered.close()
	free, err := startLanes(ctx, p, false)
	if err != nil {
		return result{}, err
	}
	defer free.close()
	r, err := f.alternate(ctx, p.pairs, ordered, free)
	if err != nil {
		return r, err
	}
	before := ordered.db.Stats().Commits
	if _, err := ordered.run(ctx); err != nil {
		return r, err
	}
	r.cost.commits = float64(ordered.db.Stats().Commits-before) / float64(p.messages)
	return r, nil
}

// lanes is a channel service with a store, an agent that costs nothing, and a
// receiver.
type lanes struct {
	plan      plan
	ordered   bool
	receiver  *counter
	db        *sqldb.DB
	inbound   channelv1.InboundServiceClient
	channelID string
	closers   []func()
}

func startLanes(ctx context.Context, p plan, ordered bool) (l *lanes, err error) {
	l = &lanes{plan: p, ordered: ordered}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.receiver, err = newCounter(); err != nil {
		return l, err
	}
	l.closers = append(l.closers, l.receiver.close)
	folder, err := os.MkdirTemp("", "prosa-bench-")
	if err != nil {
		return l, fmt.Errorf("make folder: %w", err)
	}
	l.closers = append(l.closers, func() { _ = os.RemoveAll(folder) }) // a temporary folder left behind does no harm
	logger := slog.New(slog.DiscardHandler)
	l.db, err = sqldb.Open(ctx, sqldb.Options{Service: "channel", DataDir: folder, Migrations: channel.Migrations(), Logger: logger, MigrateOnOpen: true})
	if err != nil {
		return l, err
	}
	l.closers = append(l.closers, func() { _ = l.db.Close() }) // the figures are taken
	return l, l.serve(ctx, logger)
}

// serve starts the service and makes a channel.
func (l *lanes) serve(ctx context.Context, logger *slog.Logger) error {
	box, err := secretbox.New(harness.SecretKey)
	if err != nil {
		return err
	}
	system := clock.System()
	service, err := channel.New(channel.Config{EndpointRate: ratelimit.Rate{PerSecond: -1}}, channel.Deps{
		DB: l.db, Clock: system, IDs: id.NewSource(system, nil), Box: box, Logger: logger, Metrics: prometheus.NewRegistry(),
		Agent: echoAgent{ordered: l.ordered}, Instances: anyInstance{}, Version: "bench",
		Guard: egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true),
	})
	if err != nil {
		return err
	}
	supervisor := lifecycle.NewSupervisor(logger, system)
	l.closers = append(l.closers, func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = supervisor.Stop(stop) // the figures are taken
	})
	for _, worker := range service.Workers() {
		if err := supervisor.Go(worker); err != nil {
			return err
		}
	}
	local := &inprocgrpc.Channel{}
	service.Register(local)
	l.inbound = channelv1.NewInboundServiceClient(local)
	made, err := channelv1.NewChannelServiceClient(local).CreateChannel(ctx, &channelv1.CreateChannelRequest{
		Instance: "bench", Channel: &channelv1.Channel{AgentId: "64a1b2c3d4e5f6a7b8c9d0aa", WebhookUrl: l.receiver.url},
	})
	l.channelID = made.GetChannel().GetId()
	return err
}

// close ends everything, the last first.
func (l *lanes) close() {
	for i := range l.closers {
		l.closers[len(l.closers)-1-i]()
	}
}

// run sends the messages and waits for the last answer.
func (l *lanes) run(ctx context.Context) (perSecond float64, err error) {
	arrived := l.receiver.expect(l.plan.messages)
	var (
		next atomic.Int64
		errs = make([]error, l.plan.senders)
		wg   sync.WaitGroup
	)
	start := time.Now()
	for sender := range l.plan.senders {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(l.plan.messages) && errs[sender] == nil; n = next.Add(1) {
				_, errs[sender] = l.inbound.ReceiveMessage(ctx, &channelv1.ReceiveMessageRequest{
					ChannelId: l.channelID, ClientIdentifier: "person-" + strconv.Itoa(int(n)%conversations), Type: "text",
					Text: "Olá, preciso de ajuda com o pedido " + strconv.Itoa(int(n)),
				})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	if err := l.receiver.await(ctx, arrived, l.plan.messages); err != nil {
		return 0, err
	}
	return float64(l.plan.messages) / time.Since(start).Seconds(), nil
}

// echoAgent is an agent that says what was said.
type echoAgent struct {
	agentv1.TurnServiceClient // what is not called
	ordered                   bool
}

func (echoAgent) LookupAgent(context.Context, *agentv1.LookupAgentRequest, ...grpc.CallOption) (*agentv1.LookupAgentResponse, error) {
	return &agentv1.LookupAgentResponse{AssistantId: 1}, nil
}

func (e echoAgent) RunTurn(_ context.Context, r *agentv1.RunTurnRequest, _ ...grpc.CallOption) (*agentv1.RunTurnResponse, error) {
	conversation := r.GetIdentifier()
	if !e.ordered {
		conversation = r.GetMessageId()
	}
	return &agentv1.RunTurnResponse{
		ContactId: r.GetIdentifier(), InteractionId: conversation, AttendanceId: 1,
		Messages: []*messagev1.Message{{
			Origin: messagev1.Origin_ORIGIN_BOT, CreateTime: timestamppb.New(r.GetAcceptTime().AsTime()),
			Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: r.GetText()}},
		}},
	}, nil
}

// anyInstance knows every instance.
type anyInstance struct{}

func (anyInstance) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	return &accountsv1.Instance{Slug: slug}, nil
}
