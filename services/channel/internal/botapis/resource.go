package botapis

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// defaultSquad is where handoffs go when the integration does not say.
const defaultSquad = "geral"

// resource is an integration as its owner sees it, without any secret.
func resource(b *store.BotAPI) *channelv1.BotApi {
	return &channelv1.BotApi{
		Id:             b.ID,
		DisplayName:    b.DisplayName,
		AgentId:        b.AgentID,
		Squad:          b.Squad,
		Version:        channelv1.BotApi_Version(channelv1.BotApi_Version_value[string(b.Version)]),
		CallbackUrl:    b.CallbackURL,
		IncludeContext: b.IncludeContext,
		State:          channelv1.BotApi_State(channelv1.BotApi_State_value[string(b.State)]),
		StateReason:    b.StateReason,
		CreateTime:     timestamppb.New(b.CreateTime),
		UpdateTime:     timestamppb.New(b.UpdateTime),
	}
}

func squad(asked string) string {
	if asked == "" {
		return defaultSquad
	}
	return asked
}

func version(v channelv1.BotApi_Version) store.BotVersion {
	if v == channelv1.BotApi_V1 {
		return store.BotV1
	}
	return store.BotV2
}
