package accounts

import (
	"context"
	"math"

	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// scopeUsage is the scope of page tokens of usage.
const scopeUsage = "prosa.accounts.v1.UsageService/GetUsage"

// KindLimits are the limits of one kind of calls, for each key.
type KindLimits struct {
	// Kind is the word for the calls, as CallUsage has it.
	Kind string
	quota.Limits
}

// usageServer is UsageService.
type usageServer struct {
	accountsv1.UnimplementedUsageServiceServer
	instances *instances
	keys      *keys
	counts    Counts
	limits    []KindLimits
	pages     *pagetoken.Codec
	clock     clock.Clock
	zones     quota.Zones
}

// GetUsage gives today's counts of an instance's keys.
func (s *usageServer) GetUsage(ctx context.Context, r *accountsv1.GetUsageRequest) (*accountsv1.GetUsageResponse, error) {
	after, err := s.pages.DecodePlace(r.GetPageToken(), r.GetInstance(), scopeUsage)
	if err != nil {
		return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
	}
	instance, err := s.instances.get(ctx, r.GetInstance())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	page, more, err := s.keys.list(ctx, instance.Slug, after, pagetoken.Size(r.GetPageSize()))
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	// A zone that this machine does not know counts in UTC, as the limits do.
	day := quota.DayOf(s.clock.Now(), s.zones.LoadOrUTC(instance.TimeZone))
	used, err := s.counts.Used(ctx, day.Number, s.subjects(page))
	if err != nil {
		return nil, countsError(err)
	}
	response := &accountsv1.GetUsageResponse{
		Date: day.Date(), ResetTime: timestamppb.New(day.End), Keys: make([]*accountsv1.KeyUsage, len(page)),
	}
	for n, k := range page {
		response.Keys[n] = s.usage(k, used[n*len(s.limits):])
	}
	if more {
		last := page[len(page)-1]
		response.NextPageToken = s.pages.EncodePlace(r.GetInstance(), scopeUsage, pagetoken.Place{Time: last.CreateTime, ID: last.ID})
	}
	return response, nil
}

// subjects are what is counted of the keys: of each, in their order, all kinds.
func (s *usageServer) subjects(keys []store.APIKey) []quota.Subject {
	subjects := make([]quota.Subject, 0, len(keys)*len(s.limits))
	for _, k := range keys {
		for _, l := range s.limits {
			subjects = append(subjects, quota.Subject{Instance: k.Instance, Key: k.ID, Kind: l.Kind})
		}
	}
	return subjects
}

func (s *usageServer) usage(k store.APIKey, used []int64) *accountsv1.KeyUsage {
	message := &accountsv1.KeyUsage{ApiKeyId: k.ID, DisplayName: k.DisplayName, Calls: make([]*accountsv1.CallUsage, len(s.limits))}
	for i, l := range s.limits {
		today := int32(min(used[i], math.MaxInt32))
		message.Calls[i] = &accountsv1.CallUsage{
			Kind: l.Kind, Today: today, DailyLimit: int32(l.PerDay), PerSecondLimit: int32(l.PerSecond),
			RemainingToday: max(0, int32(l.PerDay)-today),
		}
	}
	return message
}
