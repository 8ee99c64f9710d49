package botapis

import (
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/updatemask"
)

// updateRules says what an update may name.
var updateRules = updatemask.Rules{
	Resource:   "botApi",
	Changeable: []string{"display_name", "agent_id", "squad", "version", "callback_url", "callback_token", "include_context"},
	Output:     []string{"id", "state", "state_reason", "token", "signing_secret", "create_time", "update_time"},
}

// changes reads an update. seal encrypts a callback token. The error is
// REQUEST_INVALID with every field that is wrong, or INTERNAL.
func changes(b *channelv1.BotApi, mask *fieldmaskpb.FieldMask, seal func(string) ([]byte, error)) (store.BotAPIChange, error) {
	var change store.BotAPIChange
	paths, violations := updateRules.Paths(b, mask)
	for _, path := range paths {
		switch path {
		case "display_name":
			name := b.GetDisplayName()
			change.DisplayName = &name
		case "agent_id":
			if b.GetAgentId() == "" {
				violations = append(violations, rpcerr.Violation{Field: "botApi.agentId", Reason: "is required"})
			}
			agent := b.GetAgentId()
			change.AgentID = &agent
		case "squad":
			group := squad(b.GetSquad())
			change.Squad = &group
		case "version":
			kind := version(b.GetVersion())
			change.Version = &kind
		case "callback_url":
			target := b.GetCallbackUrl()
			change.CallbackURL = &target
		case "callback_token":
			var sealed []byte
			if b.GetCallbackToken() != "" {
				var err error
				if sealed, err = seal(b.GetCallbackToken()); err != nil {
					return store.BotAPIChange{}, rpcerr.Internal(err)
				}
			}
			change.CallbackToken = &sealed
		case "include_context":
			include := b.GetIncludeContext()
			change.IncludeContext = &include
		}
	}
	if len(violations) > 0 {
		return store.BotAPIChange{}, rpcerr.Invalid(violations...)
	}
	return change, nil
}
