package grpcserver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fullstorydev/grpchan"
	"google.golang.org/grpc"

	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

// InProcess serves the services of one process to each other, and to the gateway in the same process, without a network and
// through the same chain. It has two doors to the same services: Services, whose callers may do what is internal, and Public, whose
// callers may not. Which door a caller has is decided when the process is put together, so no header and no context can change
// it.
type InProcess struct {
	trusted *door
	public  *door
	calls   inFlight
}

var _ grpc.ServiceRegistrar = (*InProcess)(nil)

// NewInProcess returns a server without services.
func NewInProcess(chain Chain) *InProcess {
	p := &InProcess{calls: inFlight{idle: make(chan struct{})}}
	// The services' workers keep a call as long as they keep what they work on; a stranger is answered when the time is over.
	p.trusted = p.door(true, chain.trusting(everyone))
	p.public = p.door(false, chain.trusting(nobody))
	return p
}

func (p *InProcess) door(waits bool, links []interceptor) *door {
	unary, stream := chainUnary(links), chainStream(links)
	return newDoor(waits,
		func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if !p.calls.enter() {
				return nil, errStopping.GRPCStatus().Err()
			}
			defer p.calls.leave()
			return unary(ctx, request, info, handler)
		},
		func(server any, serverStream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if !p.calls.enter() {
				return errStopping.GRPCStatus().Err()
			}
			defer p.calls.leave()
			return stream(server, serverStream, info, handler)
		})
}

// RegisterService adds a service to both doors; before the first call only.
func (p *InProcess) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	validate.Warm(desc.ServiceName)
	p.trusted.RegisterService(desc, implementation)
	p.public.RegisterService(desc, implementation)
}

// GetServiceInfo is what is registered.
func (p *InProcess) GetServiceInfo() map[string]grpc.ServiceInfo { return p.trusted.GetServiceInfo() }

// Services is the connection for Prosa's services. Request id and trace of the call that its caller serves go along.
func (p *InProcess) Services() grpc.ClientConnInterface { return propagating(p.trusted) }

// Public is the connection for the gateway, which speaks for strangers: internal RPCs are refused.
func (p *InProcess) Public() grpc.ClientConnInterface { return propagating(p.public) }

func propagating(channel grpc.ClientConnInterface) grpc.ClientConnInterface {
	return grpchan.InterceptClientConn(channel, grpcclient.PropagateUnary, grpcclient.PropagateStream)
}

// Stop refuses new calls with UNAVAILABLE and waits for those that run, until ctx ends. It may be called more than once. A caller
// that went away does not end its handler at once, so stores may be closed only after this.
func (p *InProcess) Stop(ctx context.Context) error {
	p.calls.stop()
	select {
	case <-p.calls.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop in-process server: calls still run: %w", context.Cause(ctx))
	}
}

var errStopping = rpcerr.Unavailable(errors.New("the process is stopping"))

// inFlight counts running calls.
type inFlight struct {
	mu       sync.Mutex
	running  int
	stopping bool
	idle     chan struct{} // closed when stopping and nothing runs
}

func (f *inFlight) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return false
	}
	f.running++
	return true
}

func (f *inFlight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if f.stopping && f.running == 0 {
		close(f.idle)
	}
}

func (f *inFlight) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return
	}
	f.stopping = true
	if f.running == 0 {
		close(f.idle)
	}
}
