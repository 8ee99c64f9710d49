package grpcserver

import (
	"context"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/prosa-chat/prosa/services/internal/stack"
)

// door is one of the two ways into an InProcess server. Streams go through the library's channel. Unary calls, which are nearly
// all, go a way of our own that means the same and costs half: the answer, its headers and its end are handed over at once
// instead of one after the other, and the handler's stack is large enough from the start.
type door struct {
	*inprocgrpc.Channel
	// waits says that the callers of this door wait for their handlers also when their contexts have ended, so that a call needs no
	// goroutine of its own.
	waits   bool
	chain   grpc.UnaryServerInterceptor
	methods map[string]unaryMethod // "/package.Service/Method"
}

// unaryMethod is a method of a registered service.
type unaryMethod struct {
	handle         grpc.MethodHandler
	implementation any
}

func newDoor(waits bool, unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) *door {
	channel := &inprocgrpc.Channel{}
	channel.WithServerUnaryInterceptor(unary).WithServerStreamInterceptor(stream)
	return &door{Channel: channel, waits: waits, chain: unary, methods: make(map[string]unaryMethod)}
}

// RegisterService adds a service; before the first call only.
func (d *door) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	d.Channel.RegisterService(desc, implementation)
	for _, method := range desc.Methods {
		d.methods["/"+desc.ServiceName+"/"+method.MethodName] = unaryMethod{method.Handler, implementation}
	}
}

// Invoke makes a unary call. As over a network, the handler has copies of the messages, sees nothing of the caller's context but its
// deadline, its end and the metadata, and, unless this door's callers wait, is not waited for when that context ends.
func (d *door) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	m, registered := d.methods[method]
	wanted, known := readOptions(opts)
	if !registered || !known {
		return d.Channel.Invoke(ctx, method, request, response, opts...)
	}
	served, cancel := context.WithCancel(endsWith{ctx})
	defer cancel()
	if sent, ok := metadata.FromOutgoingContext(ctx); ok {
		served = metadata.NewIncomingContext(served, sent)
	}
	c := &unaryCall{stream: transportStream{method: method}, err: errNoAnswer}
	if d.waits {
		c.serve(served, m, d.chain, request)
	} else {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			stack.Grow()
			c.serve(served, m, d.chain, request)
		}()
		select {
		case <-ended:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if wanted.header != nil {
		*wanted.header = c.header
	}
	if wanted.trailer != nil {
		*wanted.trailer = c.trailer
	}
	if c.err != nil {
		return c.err
	}
	return inprocgrpc.ProtoCloner{}.Copy(response, c.answer)
}

// metadataWanted is where a caller wants what comes beside the answer; nil: nowhere.
type metadataWanted struct{ header, trailer *metadata.MD }

// readOptions reports false when there are options that only the library's channel knows.
func readOptions(opts []grpc.CallOption) (wanted metadataWanted, known bool) {
	for _, opt := range opts {
		switch opt := opt.(type) {
		case grpc.StaticMethodCallOption: // what generated clients say of every call
		case grpc.HeaderCallOption:
			wanted.header = opt.HeaderAddr
		case grpc.TrailerCallOption:
			wanted.trailer = opt.TrailerAddr
		default:
			return wanted, false
		}
	}
	return wanted, true
}

// unaryCall is a call while it runs, and then what came of it.
type unaryCall struct {
	stream transportStream

	answer          any
	header, trailer metadata.MD
	err             error
}

var errNoAnswer = status.Error(codes.Internal, "the handler gave neither an answer nor an error")

func (c *unaryCall) serve(ctx context.Context, m unaryMethod, chain grpc.UnaryServerInterceptor, request any) {
	ctx = grpc.NewContextWithServerTransportStream(ctx, &c.stream)
	answer, err := m.handle(m.implementation, ctx, func(into any) error {
		return inprocgrpc.ProtoCloner{}.Copy(into, request)
	}, chain)
	c.header, c.trailer = c.stream.end()
	if message, ok := answer.(proto.Message); err == nil && (!ok || !message.ProtoReflect().IsValid()) {
		err = errNoAnswer
	}
	c.answer, c.err = answer, err
}

// endsWith is a context that ends with another one and knows none of its values: what callers keep in theirs is no concern of
// the services that they call.
type endsWith struct{ context.Context }

// Value is always nil.
func (endsWith) Value(any) any { return nil }

// AfterFunc is what package context asks for: without it, the context made from this one would need a goroutine to see the end.
func (c endsWith) AfterFunc(f func()) func() bool { return context.AfterFunc(c.Context, f) }
