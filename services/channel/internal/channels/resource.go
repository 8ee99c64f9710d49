package channels

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// defaultTimeout is how long an exchange may take when the channel does not say.
const defaultTimeout = 15 * time.Second

// resource is a channel as its owner sees it, without any secret.
func resource(c *store.Channel) *channelv1.Channel {
	return &channelv1.Channel{
		Id:              c.ID,
		DisplayName:     c.DisplayName,
		AgentId:         c.AgentID,
		WebhookUrl:      c.WebhookURL,
		Test:            c.Test,
		InboundTokenSet: c.InboundTokenHash != nil,
		Acknowledgement: channelv1.Channel_Acknowledgement(channelv1.Channel_Acknowledgement_value[string(c.Acknowledgement)]),
		Timeout:         durationpb.New(c.Timeout),
		State:           channelv1.Channel_State(channelv1.Channel_State_value[string(c.State)]),
		StateReason:     c.StateReason,
		CreateTime:      timestamppb.New(c.CreateTime),
		UpdateTime:      timestamppb.New(c.UpdateTime),
	}
}

func acknowledgement(a channelv1.Channel_Acknowledgement) store.Acknowledgement {
	if a == channelv1.Channel_ANY_2XX {
		return store.Any2xx
	}
	return store.StatusOK
}

func timeout(d *durationpb.Duration) time.Duration {
	if d == nil {
		return defaultTimeout
	}
	return d.AsDuration().Truncate(time.Millisecond)
}
