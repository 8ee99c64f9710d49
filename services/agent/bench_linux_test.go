package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// recording is a contacts service that takes everything, and tells when a number of turns has come.
type recording struct {
	contactsv1.RecordServiceClient
	ids     *id.Source
	opened  atomic.Int64
	missing atomic.Int64
	all     chan struct{}
}

func (c *recording) OpenAttendance(
	context.Context, *contactsv1.OpenAttendanceRequest, ...grpc.CallOption,
) (*contactsv1.OpenAttendanceResponse, error) {
	return &contactsv1.OpenAttendanceResponse{AttendanceId: c.opened.Add(1), InteractionId: c.ids.New(), ContactId: c.ids.New()}, nil
}

func (c *recording) RecordTurns(
	_ context.Context, r *contactsv1.RecordTurnsRequest, _ ...grpc.CallOption,
) (*contactsv1.RecordTurnsResponse, error) {
	if n := int64(len(r.GetTurns())); c.missing.Add(-n) == 0 {
		close(c.all)
	}
	return &contactsv1.RecordTurnsResponse{}, nil
}

// BenchmarkTurn is what a turn costs the agent service on the embedded store, from 64 callers over 1,000 conversations, until it is
// recorded: its processor time, which unlike the time hardly depends on what else the machine does, and what it writes. The load's own
// share is in it, and is small.
func BenchmarkTurn(b *testing.B) {
	c := clock.System()
	box, err := secretbox.New(strings.Repeat("0", 32))
	require.NoError(b, err)
	ids := id.NewSource(c, nil)
	contacts := &recording{ids: ids, all: make(chan struct{})}
	service, err := agent.New(agent.Config{}, agent.Deps{
		DB: testkit.Open(b, testkit.Options(b, sqldb.SQLite, agent.Migrations(), "agent")), Clock: c, IDs: ids, Box: box,
		Logger: slog.New(slog.DiscardHandler), Contacts: contacts, Instances: &instances{},
	})
	require.NoError(b, err)
	servers := servers{}
	service.Register(&servers)
	created, err := servers.management.CreateAgent(b.Context(), &agentv1.CreateAgentRequest{
		Instance: "acme", Agent: &agentv1.Agent{Definition: yaml(eco)},
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var workers sync.WaitGroup
	for _, w := range service.Workers() {
		workers.Go(func() { _ = w.Run(ctx) })
	}
	const conversations = 1000
	turn := func(n int64) error {
		_, err := servers.turns.RunTurn(b.Context(), &agentv1.RunTurnRequest{
			Instance: "acme", AgentId: created.GetAgent().GetId(), MessageId: fmt.Sprintf("66a1b2c3d4%014x", n), Source: "api_channel",
			EndpointId: "66a1b2c3d4e5f60718293a4b", Identifier: fmt.Sprint("person-", n*617%conversations),
			Text: fmt.Sprint("Olá, preciso de ajuda com o pedido ", n), AcceptTime: timestamppb.New(c.Now()),
		})
		return err
	}
	contacts.missing.Store(int64(conversations + b.N))
	for n := range int64(conversations) {
		require.NoError(b, turn(n))
	}
	last := atomic.Int64{}
	last.Store(conversations - 1)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	before := spent(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := turn(last.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	<-contacts.all
	cancel()
	workers.Wait()
	after := spent(b)
	b.ReportMetric((after.cpu-before.cpu)/float64(b.N), "cpu-µs/op")
	b.ReportMetric((after.written-before.written)/float64(b.N), "written-B/op")
}

// servers takes what a service registers.
type servers struct {
	management agentv1.AgentServiceServer
	turns      agentv1.TurnServiceServer
}

func (s *servers) RegisterService(_ *grpc.ServiceDesc, server any) {
	switch server := server.(type) {
	case agentv1.AgentServiceServer:
		s.management = server
	case agentv1.TurnServiceServer:
		s.turns = server
	}
}

// cost is what this process has spent: processor time in microseconds, and bytes given to write.
type cost struct{ cpu, written float64 }

func spent(b *testing.B) (c cost) {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	c.cpu = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1000
	counters, err := os.ReadFile("/proc/self/io")
	require.NoError(b, err)
	_, err = fmt.Sscanf(string(counters), "rchar: %f\nwchar: %f", new(float64), &c.written)
	require.NoError(b, err)
	return c
}
