package accounts

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
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
	if reason := badTimeZone(i.TimeZone); i.TimeZone != "" && reason != "" {
		return nil, rpcerr.Invalid(rpcerr.Violation{Field: "instance.timeZone", Reason: reason})
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

// The fields of an instance in an update mask, as the contract writes them.
const (
	pathSlug              = "slug"
	pathDisplayName       = "display_name"
	pathTimeZone          = "time_zone"
	pathInactivityTimeout = "inactivity_timeout"
	pathRetention         = "retention"
	pathCreateTime        = "create_time"
	pathUpdateTime        = "update_time"
	pathAll               = "*"
)

// changeablePaths are what the mask `*` stands for (AIP-134).
var changeablePaths = []string{pathDisplayName, pathTimeZone, pathInactivityTimeout, pathRetention}

// update changes the fields of an instance that the mask names to those of i; an unset one goes back to its default. Without a
// mask the set fields are meant. Fields that the service sets are passed over (AIP-203), as is a slug that is the instance's own.
func (u *instances) update(ctx context.Context, slug string, i store.Instance, mask []string) (store.Instance, error) {
	change, violations := instanceChange(slug, i, mask)
	if len(violations) > 0 {
		return store.Instance{}, rpcerr.Invalid(violations...)
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

func instanceChange(slug string, i store.Instance, mask []string) (store.InstanceChange, []rpcerr.Violation) {
	switch {
	case len(mask) == 0:
		mask = setPaths(i)
	case slices.Contains(mask, pathAll):
		mask = append(slices.Clone(changeablePaths), slices.DeleteFunc(slices.Clone(mask), func(p string) bool { return p == pathAll })...)
	}
	if i.Slug == "" {
		i.Slug = slug
	}
	full := withDefaults(store.Instance{
		Slug: slug, DisplayName: i.DisplayName, TimeZone: i.TimeZone, InactivityTimeout: i.InactivityTimeout, Retention: i.Retention,
	})
	var change store.InstanceChange
	var violations []rpcerr.Violation
	for _, path := range mask {
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
		case pathSlug:
			if i.Slug != slug {
				violations = append(violations, rpcerr.Violation{Field: "instance.slug", Reason: "cannot be changed"})
			}
		case pathCreateTime, pathUpdateTime:
		default:
			violations = append(violations, rpcerr.Violation{Field: "updateMask", Reason: "has no field " + quoted(path)})
		}
	}
	return change, violations
}

// setPaths are the fields of i that are set.
func setPaths(i store.Instance) []string {
	var paths []string
	if i.Slug != "" {
		paths = append(paths, pathSlug)
	}
	if i.DisplayName != "" {
		paths = append(paths, pathDisplayName)
	}
	if i.TimeZone != "" {
		paths = append(paths, pathTimeZone)
	}
	if i.InactivityTimeout != 0 {
		paths = append(paths, pathInactivityTimeout)
	}
	if i.Retention != 0 {
		paths = append(paths, pathRetention)
	}
	return paths
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
