package auth

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// instanceTTL is how long a change of an instance may go unseen.
	instanceTTL = 10 * time.Second
	// noInstanceTTL is how long a new instance may go unseen by who asked for it too early.
	noInstanceTTL = time.Second
	maxInstances  = 16_384
	// maxNoInstances bounds the remembered names that are not instances, apart from the others.
	maxNoInstances = 4_096
	maxSlugLength  = 63
)

// Instances looks instances up and remembers them for 10 seconds. It is safe for concurrent use.
type Instances struct {
	identity accountsv1.IdentityServiceClient
	clock    clock.Clock
	cache    *cache[*accountsv1.Instance]
}

// NewInstances returns a look-up that asks the accounts service.
func NewInstances(identity accountsv1.IdentityServiceClient, c clock.Clock) *Instances {
	return &Instances{
		identity: identity,
		clock:    c,
		cache: newCache[*accountsv1.Instance](c, maxInstances, maxNoInstances, noInstanceTTL, func(err error) bool {
			return rpcerr.Reason(err) == errInstanceNotFound.Reason()
		}),
	}
}

// errInstanceNotFound is INSTANCE_NOT_FOUND without the name, for comparisons.
var errInstanceNotFound = instanceNotFound("")

// Get is the instance with the slug, at most 10 seconds old. It is shared and must not be changed. Errors: NOT_FOUND
// INSTANCE_NOT_FOUND; UNAVAILABLE when it cannot be told.
func (i *Instances) Get(ctx context.Context, slug string) (*accountsv1.Instance, error) {
	if slug == "" || len(slug) > maxSlugLength {
		return nil, instanceNotFound(slug)
	}
	return i.cache.get(ctx, slug, func(ctx context.Context) (*accountsv1.Instance, time.Time, error) {
		until := i.clock.Now().Add(instanceTTL)
		answer, err := i.identity.LookupInstance(ctx, &accountsv1.LookupInstanceRequest{Instance: slug})
		switch {
		case err == nil:
			return answer.GetInstance(), until, nil
		case rpcerr.Reason(err) == errInstanceNotFound.Reason(), rpcerr.Code(err) == codes.InvalidArgument:
			// What the contract's rules refuse as a name is no instance either.
			return nil, time.Time{}, instanceNotFound(slug)
		case rpcerr.Code(err) == codes.Internal, rpcerr.Code(err) == codes.Unknown:
			return nil, time.Time{}, rpcerr.Internal(err)
		default:
			return nil, time.Time{}, rpcerr.Unavailable(err)
		}
	})
}

func instanceNotFound(slug string) *rpcerr.Error {
	const maxEcho = 64
	if len(slug) > maxEcho {
		slug = ""
	}
	return rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance", "instance", slug)
}
