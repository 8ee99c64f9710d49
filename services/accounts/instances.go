package accounts

import (
	"context"
	"errors"
	"regexp"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/updatemask"
)

const (
	defaultTimeZone          = "America/Sao_Paulo"
	defaultInactivityTimeout = 24 * time.Hour
)

// slugForm is that of the contract. Whatever does not have it is no instance, and the store is not asked.
var slugForm = regexp.MustCompile(`^[a-z][a-z0-9-]{1,62}$`)

// instanceStore is what instances needs of the store.
type instanceStore interface {
	Once(ctx context.Context, key *idempotency.Key, create func(ctx context.Context, tx *store.Tx) ([]byte, error)) ([]byte, bool, error)
	Instance(ctx context.Context, slug string) (store.Instance, error)
	Instances(ctx context.Context, after string, limit int) ([]store.Instance, error)
	ChangeInstance(ctx context.Context, slug string, c store.InstanceChange) (store.Instance, error)
}

// instances is what can be done with instances.
type instances struct {
	store instanceStore
	clock clock.Clock
}

// create stores an instance with defaults in its unset fields. encode makes of it the response to keep for repetitions.
func (u *instances) create(ctx context.Context, key *idempotency.Key, i store.Instance, encode func(store.Instance) ([]byte, error)) ([]byte, error) {
	if faults := newInstanceFaults(i); len(faults) > 0 {
		return nil, rpcerr.Invalid(faults...)
	}
	i = withDefaults(i)
	i.CreateTime = u.clock.Now().Truncate(time.Microsecond)
	i.UpdateTime = i.CreateTime
	response, _, err := u.store.Once(ctx, key, func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		if err := tx.CreateInstance(ctx, i); err != nil {
			return nil, err
		}
		return encode(i)
	})
	if errors.Is(err, store.ErrInstanceExists) {
		return nil, rpcerr.New(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_EXISTS,
			"an instance with this slug exists or existed", "instance", i.Slug)
	}
	return response, err
}

func withDefaults(i store.Instance) store.Instance {
	if i.DisplayName == "" {
		i.DisplayName = i.Slug
	}
	if i.TimeZone == "" {
		i.TimeZone = defaultTimeZone
	}
	if i.InactivityTimeout == 0 {
		i.InactivityTimeout = defaultInactivityTimeout
	}
	return i
}

func (u *instances) get(ctx context.Context, slug string) (store.Instance, error) {
	if !slugForm.MatchString(slug) {
		return store.Instance{}, instanceNotFound(slug)
	}
	i, err := u.store.Instance(ctx, slug)
	if errors.Is(err, store.ErrInstanceNotFound) {
		return store.Instance{}, instanceNotFound(slug)
	}
	return i, err
}

// list gives the page of instances after a slug, and whether there are more.
func (u *instances) list(ctx context.Context, after string, size int) (page []store.Instance, more bool, err error) {
	found, err := u.store.Instances(ctx, after, size+1)
	if err != nil {
		return nil, false, err
	}
	if len(found) > size {
		return found[:size], true, nil
	}
	return found, false, nil
}

// The fields of an instance that can be changed, as the contract writes them.
const (
	pathDisplayName       = "display_name"
	pathTimeZone          = "time_zone"
	pathInactivityTimeout = "inactivity_timeout"
	pathRetention         = "retention"
)

// instanceRules says what an update may name. The slug is fixed, but may be sent back as it is.
func instanceRules(slug string, sent *accountsv1.Instance) updatemask.Rules {
	rules := updatemask.Rules{
		Resource:   "instance",
		Changeable: []string{pathDisplayName, pathTimeZone, pathInactivityTimeout, pathRetention},
		Output:     []string{"create_time", "update_time"},
	}
	if sent.GetSlug() == "" || sent.GetSlug() == slug {
		rules.Output = append(rules.Output, "slug")
	}
	return rules
}

// update changes the fields of an instance that the mask names to those that were sent; an unset one goes back to its default.
func (u *instances) update(ctx context.Context, slug string, sent *accountsv1.Instance, mask *fieldmaskpb.FieldMask) (store.Instance, error) {
	change, faults := instanceUpdate(slug, sent, mask)
	if len(faults) > 0 {
		return store.Instance{}, rpcerr.Invalid(faults...)
	}
	if !slugForm.MatchString(slug) {
		return store.Instance{}, instanceNotFound(slug)
	}
	change.UpdateTime = u.clock.Now()
	changed, err := u.store.ChangeInstance(ctx, slug, change)
	if errors.Is(err, store.ErrInstanceNotFound) {
		return store.Instance{}, instanceNotFound(slug)
	}
	return changed, err
}

// instanceUpdate is what an update changes, and the faults in it that the contract's rules cannot see.
func instanceUpdate(slug string, sent *accountsv1.Instance, mask *fieldmaskpb.FieldMask) (store.InstanceChange, []rpcerr.Violation) {
	paths, unfit := instanceRules(slug, sent).Paths(sent, mask)
	change, bad := instanceChange(slug, instanceFromMessage(sent), paths)
	return change, append(unfit, bad...)
}

// newInstanceFaults are the faults of a new instance that the contract's rules cannot see.
func newInstanceFaults(i store.Instance) []rpcerr.Violation {
	if i.TimeZone == "" {
		return nil // the default
	}
	if reason := badTimeZone(i.TimeZone); reason != "" {
		return []rpcerr.Violation{{Field: "instance.timeZone", Reason: reason}}
	}
	return nil
}

func instanceChange(slug string, i store.Instance, paths []string) (store.InstanceChange, []rpcerr.Violation) {
	i.Slug = slug
	full := withDefaults(i)
	var change store.InstanceChange
	var violations []rpcerr.Violation
	for _, path := range paths {
		switch path {
		case pathDisplayName:
			change.DisplayName = &full.DisplayName
		case pathTimeZone:
			if reason := badTimeZone(full.TimeZone); reason != "" {
				violations = append(violations, rpcerr.Violation{Field: "instance.timeZone", Reason: reason})
			}
			change.TimeZone = &full.TimeZone
		case pathInactivityTimeout:
			change.InactivityTimeout = &full.InactivityTimeout
		case pathRetention:
			change.Retention = &full.Retention
		}
	}
	return change, violations
}

// badTimeZone says what is wrong with the name of a time zone, or nothing. Go takes two names more than IANA has: the empty one
// and Local, which would be another zone on every machine.
func badTimeZone(name string) string {
	if name != "" && name != "Local" {
		if _, err := time.LoadLocation(name); err == nil {
			return ""
		}
	}
	return "must be an IANA time zone"
}

func instanceNotFound(slug string) error {
	return rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance", "instance", slug)
}
