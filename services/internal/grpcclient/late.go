package grpcclient

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Late is a connection whose far end is named after it is handed out. A process that holds every role needs one: the chain wants
// a verifier of keys, the verifier a connection to accounts, the connection the in-process server, and that the chain. The zero
// value is not bound yet: calls fail with UNAVAILABLE.
type Late struct {
	conn atomic.Pointer[grpc.ClientConnInterface]
}

var _ grpc.ClientConnInterface = (*Late)(nil)

// Bind names the far end.
func (l *Late) Bind(conn grpc.ClientConnInterface) { l.conn.Store(&conn) }

// Invoke makes a unary call.
func (l *Late) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	conn := l.conn.Load()
	if conn == nil {
		return errNotBound
	}
	return (*conn).Invoke(ctx, method, request, response, opts...)
}

// NewStream opens a stream.
func (l *Late) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn := l.conn.Load()
	if conn == nil {
		return nil, errNotBound
	}
	return (*conn).NewStream(ctx, desc, method, opts...)
}

var errNotBound = status.Error(codes.Unavailable, "the process is starting")
