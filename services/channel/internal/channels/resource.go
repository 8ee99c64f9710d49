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
	shown := &channelv1.Channel{
		Id:              c.ID,
		DisplayName:     c.DisplayName,
		AgentId:         c.AgentID,
		WebhookUrl:      c.WebhookURL,
		Test:            c.Test,
		InboundTokenSet: c.InboundTokenHash != nil,
		Acknowledgement: channelv1.Channel_Acknowledgement(channelv1.Channel_Acknowledgement_value[string(c.Acknowledgement)]),
		Timeout:         durationpb.New(c.Timeout),
		FailurePolicy:   channelv1.Channel_FailurePolicy(channelv1.Channel_FailurePolicy_value[string(c.FailurePolicy)]),
		State:           channelv1.Channel_State(channelv1.Channel_State_value[string(c.State)]),
		StateReason:     c.StateReason,
		CreateTime:      timestamppb.New(c.CreateTime),
		UpdateTime:      timestamppb.New(c.UpdateTime),
	}
	if c.SkipAfter > 0 {
		shown.SkipAfter = durationpb.New(c.SkipAfter)
	}
	return shown
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

func failurePolicy(p channelv1.Channel_FailurePolicy) store.FailurePolicy {
	switch p {
	case channelv1.Channel_HOLD:
		return store.Hold
	case channelv1.Channel_PARK:
		return store.Park
	default:
		return store.Skip
	}
}

func skipAfter(d *durationpb.Duration) time.Duration {
	return d.AsDuration().Truncate(time.Millisecond)
}
