package contacts

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// places knows where an instance is, which decides when its days begin.
type places struct {
	instances Instances
	// zones are the time zones that were loaded. There are some six hundred.
	zones sync.Map // name → *time.Location
}

var (
	errNotInstance = rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance")
	// errStranger is what this surface says about an instance that does not exist, so that nobody can probe for names.
	errStranger = rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID, "the key is not valid")
)

func (p *places) of(ctx context.Context, instance string) (*time.Location, error) {
	found, err := p.instances.Get(ctx, instance)
	if err != nil {
		if rpcerr.Reason(err) == errNotInstance.Reason() {
			return nil, errStranger.WithCause(err)
		}
		return nil, err
	}
	name := found.GetTimeZone()
	if zone, ok := p.zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("load time zone of instance: %w", err)
	}
	p.zones.Store(name, zone)
	return zone, nil
}
