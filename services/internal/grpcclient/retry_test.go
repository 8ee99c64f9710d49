package grpcclient_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1" // all contracts are looked through
	_ "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
)

// role answers every call as a test says, and counts them.
type role struct {
	accountsv1.UnimplementedIdentityServiceServer
	accountsv1.UnimplementedMeterServiceServer
	server *grpc.Server
	calls  atomic.Int64
	answer func(ctx context.Context) error
}

func (r *role) LookupInstance(ctx context.Context, _ *accountsv1.LookupInstanceRequest) (*accountsv1.LookupInstanceResponse, error) {
	r.calls.Add(1)
	return &accountsv1.LookupInstanceResponse{}, r.answer(ctx)
}

func (r *role) TakeCall(ctx context.Context, _ *accountsv1.TakeCallRequest) (*accountsv1.TakeCallResponse, error) {
	r.calls.Add(1)
	return &accountsv1.TakeCallResponse{}, r.answer(ctx)
}

func startRole(t *testing.T, answer func(ctx context.Context) error) (*role, resolver.Address) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &role{server: grpc.NewServer(grpc.WaitForHandlers(true)), answer: answer}
	accountsv1.RegisterIdentityServiceServer(r.server, r)
	accountsv1.RegisterMeterServiceServer(r.server, r)
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(listener) }()
	t.Cleanup(func() {
		r.server.Stop()
		require.NoError(t, <-served)
	})
	return r, resolver.Address{Addr: listener.Addr().String()}
}

// connect makes a connection to roles, which find it ready.
func connect(t *testing.T, addresses ...resolver.Address) *grpc.ClientConn {
	t.Helper()
	builder := manual.NewBuilderWithScheme("roles")
	builder.InitialState(resolver.State{Addresses: addresses})
	conn, err := grpcclient.Dial("roles:///accounts", grpcclient.Options{DialOptions: []grpc.DialOption{grpc.WithResolvers(builder)}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func unavailable(context.Context) error { return status.Error(codes.Unavailable, "not now") }

// TestACallThatNobodyAnsweredIsMadeAgainIfItMayBe breaks the connection under a call. One that has no effect is answered by the other
// role; one that counts something fails, and was made once.
func TestACallThatNobodyAnsweredIsMadeAgainIfItMayBe(t *testing.T) {
	broken := func(t *testing.T) (*grpc.ClientConn, func() int64) {
		t.Helper()
		var dying, living *role
		var one, other resolver.Address
		dying, one = startRole(t, func(ctx context.Context) error {
			go dying.server.Stop()
			<-ctx.Done()
			return ctx.Err()
		})
		living, other = startRole(t, func(context.Context) error { return nil })
		conn := connect(t, one, other)
		conn.Connect()
		return conn, func() int64 { return dying.calls.Load() + living.calls.Load() }
	}
	t.Run("read", func(t *testing.T) {
		conn, calls := broken(t)
		made := int64(0)
		for calls() == made { // until the dying role had a turn
			_, err := accountsv1.NewIdentityServiceClient(conn).LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{}, grpc.WaitForReady(true))
			require.NoError(t, err)
			made++
		}
		require.Equal(t, made+1, calls())
	})
	t.Run("count", func(t *testing.T) {
		conn, calls := broken(t)
		var err error
		for made := int64(0); err == nil; made++ {
			_, err = accountsv1.NewMeterServiceClient(conn).TakeCall(t.Context(), &accountsv1.TakeCallRequest{}, grpc.WaitForReady(true))
			require.Equal(t, made+1, calls())
		}
		require.Equal(t, codes.Unavailable, status.Code(err))
	})
}

// TestWhatARoleAnswersIsNotAskedAgain is about roles that say UNAVAILABLE, with the header that each of Prosa's answers has.
func TestWhatARoleAnswersIsNotAskedAgain(t *testing.T) {
	r, address := startRole(t, func(ctx context.Context) error {
		require.NoError(t, grpc.SetHeader(ctx, metadata.Pairs("x-request-id", "r1")))
		return unavailable(ctx)
	})
	_, err := accountsv1.NewIdentityServiceClient(connect(t, address)).LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{}, grpc.WaitForReady(true))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, int64(1), r.calls.Load())
}

// TestOtherFailuresAreNotRepeated is about every code but one.
func TestOtherFailuresAreNotRepeated(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		r, address := startRole(t, func(context.Context) error { return status.Error(code, "no") })
		_, err := accountsv1.NewIdentityServiceClient(connect(t, address)).LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{}, grpc.WaitForReady(true))
		require.Equal(t, code, status.Code(err))
		wanted := int64(1)
		if code == codes.Unavailable {
			wanted = 3
		}
		require.Equal(t, wanted, r.calls.Load(), code)
	}
}

// TestRetriesHaveABudget asks a role that fails every time: some calls are repeated, and then none any more.
func TestRetriesHaveABudget(t *testing.T) {
	const calls = 60
	r, address := startRole(t, unavailable)
	client := accountsv1.NewIdentityServiceClient(connect(t, address))
	ask := func() {
		_, err := client.LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{}, grpc.WaitForReady(true))
		require.Equal(t, codes.Unavailable, status.Code(err))
	}
	for range calls {
		ask()
	}
	spent := r.calls.Load()
	require.Greater(t, spent, int64(calls))
	require.LessOrEqual(t, spent, int64(calls+50))
	for range calls {
		ask()
	}
	require.Equal(t, spent+calls, r.calls.Load())
}

// TestARetryWaitsAsLongAsItIsToldAndNoLongerThanTheCall has the role ask for an hour of peace.
func TestARetryWaitsAsLongAsItIsToldAndNoLongerThanTheCall(t *testing.T) {
	r, address := startRole(t, func(ctx context.Context) error {
		require.NoError(t, grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "3600000")))
		return unavailable(ctx)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := accountsv1.NewIdentityServiceClient(connect(t, address)).LookupInstance(ctx, &accountsv1.LookupInstanceRequest{}, grpc.WaitForReady(true))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	require.Equal(t, int64(1), r.calls.Load())
}

// writesThatMayBeRepeated are the RPCs that change something and are repeated all the same. Who adds one has thought about what a
// second call does after an answer that was lost.
var writesThatMayBeRepeated = []string{
	"prosa.accounts.v1.AccountsService.UpdateInstance",
	"prosa.agent.v1.ConversationService.RateConversation",
	"prosa.agent.v1.ConversationService.RateMessage",
	"prosa.agent.v1.ConversationService.UpdateConversation",
	"prosa.agent.v1.PersonService.ErasePerson",
	"prosa.agent.v1.PersonService.RestoreErasures",
	"prosa.agent.v1.ReplyTurnService.RunReply",
	"prosa.agent.v1.SecretService.SetSecret",
	"prosa.agent.v1.TurnService.RunTurn",
	"prosa.channel.v1.BotApiService.PauseBotApi",
	"prosa.channel.v1.BotApiService.ResumeBotApi",
	"prosa.channel.v1.BotApiService.UpdateBotApi",
	"prosa.channel.v1.ChannelService.PauseChannel",
	"prosa.channel.v1.ChannelService.ResumeChannel",
	"prosa.channel.v1.ChannelService.UpdateChannel",
	"prosa.contacts.v1.AttendanceService.ImportAttendances",
	"prosa.contacts.v1.PersonService.ErasePerson",
	"prosa.contacts.v1.PersonService.RestoreErasures",
	"prosa.contacts.v1.RecordService.OpenAttendance",
	"prosa.contacts.v1.RecordService.RecordTurns",
}

// TestEveryRPCSaysWhetherItMayBeRepeated walks all contracts: there is no RPC without an idempotency_level, a GET has no side effects,
// nothing that has a key for its repetitions is repeated without one, and the writes are those of the list.
func TestEveryRPCSaysWhetherItMayBeRepeated(t *testing.T) {
	var writes []string
	count := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "prosa.") {
			return true
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				count++
				options := m.Options().(*descriptorpb.MethodOptions)
				require.NotNil(t, options.IdempotencyLevel, "%s: state its idempotency_level", m.FullName())
				level := options.GetIdempotencyLevel()
				rule, _ := proto.GetExtension(options, annotations.E_Http).(*annotations.HttpRule)
				if rule.GetGet() != "" {
					require.Equal(t, descriptorpb.MethodOptions_NO_SIDE_EFFECTS, level, m.FullName())
				}
				if rule.GetDelete() != "" || rule.GetPut() != "" || rule.GetPatch() != "" {
					require.NotEqual(t, descriptorpb.MethodOptions_NO_SIDE_EFFECTS, level, m.FullName())
				}
				for _, verb := range []string{"Create", "Receive", "Rotate", "Complete", "Stream", "Take", "Reply"} {
					if strings.HasPrefix(string(m.Name()), verb) {
						require.Equal(t, descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN, level, m.FullName())
					}
				}
				if level == descriptorpb.MethodOptions_IDEMPOTENT {
					writes = append(writes, string(m.FullName()))
				}
			}
		}
		return true
	})
	require.Greater(t, count, 70, fmt.Sprintf("only %d RPCs were found", count))
	slices.Sort(writes)
	require.Equal(t, writesThatMayBeRepeated, writes)
}
