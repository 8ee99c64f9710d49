package outbox

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/deliveries"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Resource is a delivery as its owner sees it.
func Resource(d *store.Listed) (*channelv1.Delivery, error) {
	made := &channelv1.Delivery{
		Id:            d.ID,
		EndpointId:    d.EndpointID,
		ContactId:     d.ContactID,
		InteractionId: d.InteractionID,
		Sequence:      int32(d.Sequence),
		State:         channelv1.Delivery_State(channelv1.Delivery_State_value[string(d.State)]),
		CreateTime:    timestamppb.New(d.CreateTime),
	}
	if !d.NextTime.IsZero() {
		made.NextAttemptTime = timestamppb.New(d.NextTime)
	}
	if d.Attempts == nil {
		return made, nil
	}
	var attempts []deliveries.Stored
	if err := json.Unmarshal(d.Attempts, &attempts); err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("read attempts of delivery %s: %w", d.ID, err))
	}
	for _, a := range attempts {
		began, err := time.Parse(time.RFC3339Nano, a.Time)
		if err != nil {
			return nil, rpcerr.Internal(fmt.Errorf("read attempts of delivery %s: %w", d.ID, err))
		}
		made.Attempts = append(made.Attempts, &channelv1.Delivery_Attempt{
			Time: timestamppb.New(began), DurationMs: int32(a.DurationMS), StatusCode: int32(a.StatusCode), Error: a.Error, Answer: a.Answer,
		})
	}
	return made, nil
}
