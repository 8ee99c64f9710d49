package grpcserver_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/mtls/mtlstest"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestKeysDecideWhoMayCall(t *testing.T) {
	f := newFixture(t)
	var principal auth.Principal
	f.handle(func(ctx context.Context) error {
		principal = auth.FromContext(ctx)
		return nil
	})
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		accounts, contacts := accountsv1.NewAccountsServiceClient(conn), contactsv1.NewContactsServiceClient(conn)
		get := func(ctx context.Context, instance string) error {
			_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: instance})
			return err
		}
		query := func(ctx context.Context, instance string) error {
			_, err := contacts.QueryContacts(ctx, &contactsv1.QueryContactsRequest{Instance: instance})
			return err
		}
		manage, root := with(t.Context(), "authorization", "Bearer "+manageKey), with(t.Context(), "authorization", "Bearer "+rootKey)

		require.NoError(t, get(manage, "acme"))
		require.Equal(t, auth.Principal{Instance: "acme", KeyID: keyID, Scopes: []string{auth.ScopeManage}}, principal)
		require.NoError(t, get(root, "other"))
		require.Equal(t, auth.Principal{Root: true}, principal)

		err := get(manage, "other")
		require.Equal(t, codes.NotFound, status.Code(err))
		require.Equal(t, "INSTANCE_NOT_FOUND", rpcerr.Reason(err))

		err = query(with(t.Context(), "x-api-key", contactsKey), "other")
		require.Equal(t, codes.Unauthenticated, status.Code(err))
		require.Equal(t, "API_KEY_INVALID", rpcerr.Reason(err))
		require.NoError(t, query(with(t.Context(), "x-api-key", contactsKey), "acme"))

		require.Equal(t, "SCOPE_MISSING", rpcerr.Reason(query(manage, "acme")))
		require.Equal(t, "CREDENTIALS_MISSING", rpcerr.Reason(get(t.Context(), "acme")))
		require.Equal(t, "CREDENTIALS_MALFORMED", rpcerr.Reason(get(with(t.Context(), "authorization", manageKey), "acme")))

		_, err = accounts.ListInstances(manage, &accountsv1.ListInstancesRequest{})
		require.Equal(t, "SCOPE_MISSING", rpcerr.Reason(err))
		_, err = accounts.ListInstances(root, &accountsv1.ListInstancesRequest{})
		require.NoError(t, err)
	})
}

func TestAWrongChecksumDoesNotReachTheVerifier(t *testing.T) {
	f := newFixture(t)
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		wrong := []byte(manageKey)
		wrong[len(wrong)-1] ^= 1
		for _, ctx := range []context.Context{
			with(t.Context(), "authorization", "Bearer "+string(wrong)), with(t.Context(), "x-api-key", string(wrong)),
		} {
			_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
			require.Equal(t, "API_KEY_INVALID", rpcerr.Reason(err))
		}
		require.Zero(t, f.verifier.asked)
	})
}

func TestOpenCallsSeeTheirToken(t *testing.T) {
	f := newFixture(t)
	var token string
	f.handle(func(ctx context.Context) error {
		token = auth.BearerToken(ctx)
		return nil
	})
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, err := channelv1.NewInboundServiceClient(conn).ReceiveMessage(with(t.Context(), "authorization", "Bearer the-channel's-token"),
			&channelv1.ReceiveMessageRequest{ChannelId: keyID, ClientIdentifier: "c", Type: "text", Text: "olá"})
		require.NoError(t, err)
		require.Equal(t, "the-channel's-token", token)
		require.Zero(t, f.verifier.asked)
	})
}

// TestInternalCalls is the wall around the internal RPCs: who gets in by which door, whatever they send.
func TestInternalCalls(t *testing.T) {
	f := newFixture(t)
	authority := mtlstest.NewAuthority(t)
	files := authority.Issue(t, "prosa")
	serverTLS, err := files.Server()
	require.NoError(t, err)
	clientTLS, err := files.Client("prosa")
	require.NoError(t, err)

	lookup := func(conn grpc.ClientConnInterface) error {
		// Nothing that a caller sends makes it a service.
		ctx := with(auth.WithPrincipal(t.Context(), auth.Principal{Internal: true}), "authorization", "Bearer "+rootKey, "x-internal", "true")
		_, err := accountsv1.NewIdentityServiceClient(conn).LookupInstance(ctx, &accountsv1.LookupInstanceRequest{Instance: "acme"})
		return err
	}
	refused := func(t *testing.T, err error) {
		t.Helper()
		require.Equal(t, codes.PermissionDenied, status.Code(err))
		require.Equal(t, "INTERNAL_ONLY", rpcerr.Reason(err))
	}
	t.Run("in process, a service", func(t *testing.T) { require.NoError(t, lookup(f.inProcess(t).Services())) })
	t.Run("in process, the gateway", func(t *testing.T) { refused(t, lookup(f.inProcess(t).Public())) })
	t.Run("network", func(t *testing.T) {
		conn, _ := f.network(t, grpcserver.Options{}, grpcclient.Options{})
		refused(t, lookup(conn))
	})
	t.Run("trusted network", func(t *testing.T) {
		conn, _ := f.network(t, grpcserver.Options{TrustNetwork: true}, grpcclient.Options{})
		require.NoError(t, lookup(conn))
	})
	t.Run("TLS with a certificate", func(t *testing.T) {
		conn, _ := f.network(t, grpcserver.Options{Credentials: serverTLS}, grpcclient.Options{Credentials: clientTLS})
		require.NoError(t, lookup(conn))
	})
	t.Run("TLS without a certificate", func(t *testing.T) {
		conn, _ := f.network(t, grpcserver.Options{Credentials: serverTLS}, grpcclient.Options{Credentials: authority.Anonymous(t, "prosa")})
		refused(t, lookup(conn))
		_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err, "a key is enough for what is public")
	})
	t.Run("TLS with a certificate of another authority", func(t *testing.T) {
		stranger := mtlstest.NewAuthority(t).Issue(t, "prosa")
		stranger.CA = files.CA // it believes ours, but shows its own
		credentials, err := stranger.Client("prosa")
		require.NoError(t, err)
		conn, _ := f.network(t, grpcserver.Options{Credentials: serverTLS}, grpcclient.Options{Credentials: credentials})
		require.Equal(t, codes.Unavailable, status.Code(lookup(conn)), "no connection at all")
	})
}

func TestServicesMayCallWhatIsOpenButNeedAKeyForTheRest(t *testing.T) {
	f := newFixture(t)
	conn := f.inProcess(t).Services()
	_, err := channelv1.NewInboundServiceClient(conn).ReceiveMessage(t.Context(),
		&channelv1.ReceiveMessageRequest{ChannelId: keyID, ClientIdentifier: "c", Type: "text", Text: "olá"})
	require.NoError(t, err)
	_, err = accountsv1.NewAccountsServiceClient(conn).GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: "acme"})
	require.Equal(t, "CREDENTIALS_MISSING", rpcerr.Reason(err))
}

func TestStreamsHaveTheSameWall(t *testing.T) {
	f := newFixture(t)
	f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		ctx := with(t.Context(), "authorization", "Bearer "+manageKey)
		answers, header, err := callStream(ctx, conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 2, answers)
		require.Len(t, header.Get("x-request-id"), 1)

		answers, _, err = callStream(ctx, conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "other"})
		require.Equal(t, "INSTANCE_NOT_FOUND", rpcerr.Reason(err))
		require.Zero(t, answers)
		_, _, err = callStream(ctx, conn, "ListInstances", &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Equal(t, "SCOPE_MISSING", rpcerr.Reason(err))
		_, _, err = callStream(t.Context(), conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Equal(t, "CREDENTIALS_MISSING", rpcerr.Reason(err))
	})
}

// unstated is a service of which the contract says nothing.
var unstated = grpc.ServiceDesc{
	ServiceName: "prosa.test.v1.Unstated", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		panic("not reached: the chain calls it")
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(any, grpc.ServerStream) error { return nil }}},
}

func TestAnRPCWithoutTheOptionIsRefused(t *testing.T) {
	f := newFixture(t)
	p := grpcserver.NewInProcess(f.chain)
	p.RegisterService(&unstated, struct{}{})
	for name, conn := range map[string]grpc.ClientConnInterface{"service": p.Services(), "gateway": p.Public()} {
		t.Run(name, func(t *testing.T) {
			stream, err := conn.NewStream(with(t.Context(), "x-api-key", rootKey), &grpc.StreamDesc{ServerStreams: true}, "/prosa.test.v1.Unstated/Stream")
			require.NoError(t, err)
			require.Equal(t, "INTERNAL_ONLY", rpcerr.Reason(stream.RecvMsg(new(accountsv1.GetInstanceResponse))))
		})
	}
	require.NoError(t, p.Stop(t.Context()))
}

func TestHealthAndReflectionNeedNoKey(t *testing.T) {
	f := newFixture(t)
	conn, _ := f.network(t, grpcserver.Options{}, grpcclient.Options{})
	health := grpc_health_v1.NewHealthClient(conn)
	answer, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.GetStatus())
	_, err = health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "unknown"})
	require.Equal(t, codes.NotFound, status.Code(err), "health has its own errors")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	}))
	listed, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, service := range listed.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	require.Contains(t, names, "prosa.accounts.v1.AccountsService")
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}
