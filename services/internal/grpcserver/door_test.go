package grpcserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// TestHeadersAndTrailers come with an answer and with an error, whatever the transport.
func TestHeadersAndTrailers(t *testing.T) {
	f := newFixture(t)
	var kept context.Context
	var result error
	f.handle(func(ctx context.Context) error {
		kept = ctx
		require.NoError(t, grpc.SetHeader(ctx, metadata.Pairs("first", "1")))
		require.NoError(t, grpc.SetHeader(ctx, metadata.Pairs("first", "2")))
		require.NoError(t, grpc.SendHeader(ctx, metadata.Pairs("second", "3")))
		require.Error(t, grpc.SetHeader(ctx, metadata.Pairs("third", "4")), "after they were sent")
		require.Error(t, grpc.SendHeader(ctx, metadata.Pairs("third", "4")), "after they were sent")
		require.NoError(t, grpc.SetTrailer(ctx, metadata.Pairs("last", "5")))
		require.NoError(t, grpc.SetTrailer(ctx, metadata.Pairs("last", "6")))
		return result
	})
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		for _, result = range []error{nil, rpcerr.Invalid(rpcerr.Violation{Field: "slug", Reason: "is odd"})} {
			var header, trailer metadata.MD
			_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey),
				&accountsv1.GetInstanceRequest{Instance: "acme"}, grpc.Header(&header), grpc.Trailer(&trailer))
			require.Equal(t, result == nil, err == nil)
			require.Equal(t, []string{"1", "2"}, header.Get("first"))
			require.Equal(t, []string{"3"}, header.Get("second"))
			require.Len(t, header.Get("x-request-id"), 1)
			require.Equal(t, []string{"5", "6"}, trailer.Get("last"))
			require.Error(t, grpc.SetTrailer(kept, metadata.Pairs("late", "7")), "after the handler")
			require.Error(t, kept.Err(), "the context of a call ends with it")
		}
	})
}

type privateKey struct{}

// TestInProcessContext shows a handler the metadata, the deadline and the end of its caller's context, and none of its values.
func TestInProcessContext(t *testing.T) {
	f := newFixture(t)
	conn := f.inProcess(t).Public()
	deadline := time.Now().Add(time.Minute)
	leaving, leave := context.WithDeadline(context.WithValue(t.Context(), privateKey{}, "private"), deadline)
	defer leave()
	ended := make(chan error, 1)
	f.handle(func(ctx context.Context) error {
		require.Nil(t, ctx.Value(privateKey{}))
		require.Equal(t, []string{"said"}, metadata.ValueFromIncomingContext(ctx, "something"))
		_, passedOn := metadata.FromOutgoingContext(ctx)
		require.False(t, passedOn)
		seen, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, deadline, seen)
		leave()
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(leaving, "x-api-key", manageKey, "something", "said"),
		&accountsv1.GetInstanceRequest{Instance: "acme"})
	require.Equal(t, codes.Canceled, status.Code(err))
	require.ErrorIs(t, <-ended, context.Canceled)
}

// TestWhoWaitsForAHandler: strangers only as long as their context lasts, and the services of the process to the end.
func TestWhoWaitsForAHandler(t *testing.T) {
	f := newFixture(t)
	p := f.inProcess(t)
	for _, c := range []struct {
		name string
		conn grpc.ClientConnInterface
		want codes.Code
	}{{"public", p.Public(), codes.Canceled}, {"services", p.Services(), codes.OK}} {
		t.Run(c.name, func(t *testing.T) {
			ctx, leave := context.WithCancel(with(t.Context(), "x-api-key", manageKey))
			release, ended := make(chan struct{}), make(chan struct{})
			f.handle(func(ctx context.Context) error {
				defer close(ended)
				leave()
				<-ctx.Done()
				if c.want == codes.OK {
					close(release)
				}
				<-release
				return nil
			})
			_, err := accountsv1.NewAccountsServiceClient(c.conn).GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
			require.Equal(t, c.want, status.Code(err))
			if c.want != codes.OK {
				close(release) // the handler is still there
			}
			<-ended
		})
	}
}

// odd is a service whose one method does what no generated one does.
func odd(method grpc.MethodHandler) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "prosa.test.v1.Odd", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: method}},
	}
}

func TestInProcessMessagesAreCopies(t *testing.T) {
	p := grpcserver.NewInProcess(newFixture(t).chain)
	answered := &accountsv1.GetInstanceRequest{}
	p.RegisterService(odd(func(_ any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := read(answered); err != nil {
			return nil, err
		}
		answered.Instance += " and more"
		return answered, nil
	}), struct{}{})
	request, response := &accountsv1.GetInstanceRequest{Instance: "acme"}, &accountsv1.GetInstanceRequest{Instance: "from before"}
	require.NoError(t, p.Public().Invoke(t.Context(), "/prosa.test.v1.Odd/Call", request, response))
	require.Equal(t, "acme", request.GetInstance())
	require.Equal(t, "acme and more", response.GetInstance())
	answered.Instance = "something else"
	require.Equal(t, "acme and more", response.GetInstance())
	require.Error(t, p.Public().Invoke(t.Context(), "/prosa.test.v1.Odd/Call", request, &accountsv1.GetInstanceResponse{}), "another type")
}

func TestInProcessWithoutAnAnswer(t *testing.T) {
	var answer any
	p := grpcserver.NewInProcess(newFixture(t).chain)
	p.RegisterService(odd(func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		return answer, nil
	}), struct{}{})
	for name, nothing := range map[string]any{"nil": nil, "nil of its type": (*accountsv1.GetInstanceResponse)(nil), "no message": "x"} {
		t.Run(name, func(t *testing.T) {
			answer = nothing
			err := p.Public().Invoke(t.Context(), "/prosa.test.v1.Odd/Call", &accountsv1.GetInstanceRequest{}, &accountsv1.GetInstanceResponse{})
			require.Equal(t, codes.Internal, status.Code(err))
		})
	}
	err := p.Public().Invoke(t.Context(), "/prosa.test.v1.Odd/Other", &accountsv1.GetInstanceRequest{}, &accountsv1.GetInstanceResponse{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

// credentialsOfACall is an option that takes the longer way.
type credentialsOfACall struct{}

func (credentialsOfACall) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"x-api-key": manageKey}, nil
}

func (credentialsOfACall) RequireTransportSecurity() bool { return false }

func TestInProcessCredentialsOfACall(t *testing.T) {
	f := newFixture(t)
	_, err := accountsv1.NewAccountsServiceClient(f.inProcess(t).Public()).GetInstance(t.Context(),
		&accountsv1.GetInstanceRequest{Instance: "acme"}, grpc.PerRPCCredentials(credentialsOfACall{}))
	require.NoError(t, err)
}
