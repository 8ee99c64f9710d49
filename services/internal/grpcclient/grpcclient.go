// Package grpcclient makes the connections to Prosa's roles in other processes.
package grpcclient

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // clients that watch health: the balancer leaves out servers that are not serving
	"google.golang.org/grpc/keepalive"
)

const (
	// maxAnswerBytes is the largest answer taken. Requests are held to 4 MiB by the server; answers come from our own services,
	// and a page of histories may be larger.
	maxAnswerBytes = 64 << 20
	// defaultTimeout is how long a unary call may take whose caller does not say.
	defaultTimeout = 30 * time.Second

	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	connectTimeout   = 5 * time.Second
	// maxReconnect bounds the wait between two attempts to connect: a role that comes back is found within seconds.
	maxReconnect = 3 * time.Second
	minReconnect = 100 * time.Millisecond
)

// Options is what distinguishes one connection from another.
type Options struct {
	// Credentials is the TLS of the connection; nil means plain text. See package mtls.
	Credentials credentials.TransportCredentials
	// Timeout is for unary calls without a deadline. Zero: 30 seconds.
	Timeout time.Duration
	// DialOptions are added last, for tests.
	DialOptions []grpc.DialOption
}

// Dial returns a connection to a target ("dns:///accounts:9090"). It connects in the background and again whenever the
// connection breaks; a call while there is none fails with UNAVAILABLE. A call that may be carried out twice is made again, within
// its deadline, when it was not answered. Errors: a target that cannot be parsed.
func Dial(target string, opts Options) (*grpc.ClientConn, error) {
	creds := opts.Credentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	timeout := opts.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(serviceConfig()),
		grpc.WithDisableServiceConfig(), // what DNS says about balancing is not ours
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		// Connections stay open when nothing is asked, so that the first call after a quiet night is as quick as any.
		grpc.WithIdleTimeout(0),
		grpc.WithChainUnaryInterceptor(deadline(timeout), PropagateUnary),
		grpc.WithChainStreamInterceptor(PropagateStream),
	}, opts.DialOptions...)
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return conn, nil
}

// deadline gives calls that have none one: a peer that hangs must not hold its caller for ever.
func deadline(d time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, d)
			defer cancel()
		}
		return invoke(ctx, method, request, response, conn, opts...)
	}
}
