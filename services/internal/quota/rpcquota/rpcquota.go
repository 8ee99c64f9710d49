// Package rpcquota has the accounts service count the calls of API keys.
package rpcquota

import (
	"context"
	"fmt"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/quota"
)

// Counter is a quota.Counter that asks the accounts service, in one call.
type Counter struct{ meter accountsv1.MeterServiceClient }

var _ quota.Counter = (*Counter)(nil)

// New returns a counter that asks through the client.
func New(meter accountsv1.MeterServiceClient) *Counter { return &Counter{meter: meter} }

// Take counts a call, if that is allowed.
func (c *Counter) Take(ctx context.Context, ask quota.Ask) (quota.Tally, error) {
	answer, err := c.meter.TakeCall(ctx, &accountsv1.TakeCallRequest{
		Instance: ask.Instance, KeyId: ask.Key, Kind: ask.Kind,
		PerSecond: int32(ask.PerSecond), PerDay: int32(ask.PerDay),
		Day: ask.Day, Floor: ask.Floor, Add: ask.Add,
	})
	if err != nil {
		return quota.Tally{}, fmt.Errorf("have accounts count a call: %w", err)
	}
	return quota.Tally{
		Allowed: answer.GetAllowed(), Day: answer.GetDay(), Used: answer.GetUsed(), Recent: int(answer.GetRecent()),
		Reset: answer.GetResetIn().AsDuration(),
	}, nil
}
