package app

import (
	"context"
	"fmt"
	"time"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts"
	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/redisquota"
	"github.com/prosa-chat/prosa/services/internal/quota/rpcquota"
)

// quotas are the limits of API keys in this process. With Redis each process counts there, in one round trip; without it the role
// accounts counts, whose store has one row for each key.
func (p *process) quotas(meter accountsv1.MeterServiceClient) (grpcserver.Quotas, error) {
	s := &p.options.Settings
	var counter quota.Counter = rpcquota.New(meter)
	if s.RedisURL != "" {
		var err error
		if p.redis, err = redisquota.Open(s.RedisURL); err != nil {
			return grpcserver.Quotas{}, fmt.Errorf("open counts of calls: %w", err)
		}
		p.closers.Push("counts of calls in Redis", func(context.Context) error { return p.redis.Close() })
		counter = p.redis
	}
	var zones quota.Zones
	keeper, err := quota.NewKeeper(quota.KeeperDeps{
		Counter: counter,
		Zone: func(ctx context.Context, instance string) (*time.Location, error) {
			found, err := p.lookup.Get(ctx, instance)
			if err != nil {
				return nil, err
			}
			return zones.LoadOrUTC(found.GetTimeZone()), nil
		},
		Clock: p.clock, Logger: p.logger, Metrics: p.metrics,
	})
	if err != nil {
		return grpcserver.Quotas{}, err
	}
	quotas := grpcserver.Quotas{Keeper: keeper}
	for _, l := range keyLimits(s) {
		switch l.Kind {
		case grpcserver.KindContacts:
			quotas.Contacts = l.Limits
		case grpcserver.KindConversations:
			quotas.Conversations = l.Limits
		}
	}
	return quotas, nil
}

// keyLimits are what each key may do.
func keyLimits(s *config.Settings) []accounts.KindLimits {
	return []accounts.KindLimits{
		{Kind: grpcserver.KindContacts, Limits: quota.Limits{PerSecond: s.ContactsRate, PerDay: s.ContactsDaily}},
		{Kind: grpcserver.KindConversations, Limits: quota.Limits{PerSecond: s.ConversationsRate}},
	}
}
