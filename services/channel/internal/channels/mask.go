package channels

import (
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/updatemask"
)

// updateRules says what an update may name. Whether a channel is a test channel is fixed, but may be sent back as it is.
func updateRules(test bool, sent *channelv1.Channel) updatemask.Rules {
	rules := updatemask.Rules{
		Resource:   "channel",
		Changeable: []string{"display_name", "agent_id", "webhook_url", "inbound_token", "acknowledgement", "timeout", "failure_policy", "skip_after"},
		Output:     []string{"id", "inbound_token_set", "state", "state_reason", "signing_secret", "create_time", "update_time"},
	}
	if sent.GetTest() == test {
		rules.Output = append(rules.Output, "test")
	}
	return rules
}

// changes reads an update of a channel, which is a test channel or none. token hashes an inbound token. The error is
// REQUEST_INVALID with every field that is wrong.
func changes(test bool, c *channelv1.Channel, mask *fieldmaskpb.FieldMask, token func(string) []byte) (store.ChannelChange, error) {
	var change store.ChannelChange
	paths, violations := updateRules(test, c).Paths(c, mask)
	for _, path := range paths {
		switch path {
		case "display_name":
			name := c.GetDisplayName()
			change.DisplayName = &name
		case "agent_id":
			if c.GetAgentId() == "" {
				violations = append(violations, rpcerr.Violation{Field: "channel.agentId", Reason: "is required"})
			}
			agent := c.GetAgentId()
			change.AgentID = &agent
		case "webhook_url":
			if c.GetWebhookUrl() == "" {
				violations = append(violations, rpcerr.Violation{Field: "channel.webhookUrl", Reason: "is required"})
			}
			target := c.GetWebhookUrl()
			change.WebhookURL = &target
		case "inbound_token":
			var hash []byte
			if c.GetInboundToken() != "" {
				hash = token(c.GetInboundToken())
			}
			change.InboundTokenHash = &hash
		case "acknowledgement":
			kind := acknowledgement(c.GetAcknowledgement())
			change.Acknowledgement = &kind
		case "timeout":
			limit := timeout(c.GetTimeout())
			change.Timeout = &limit
		case "failure_policy":
			policy := failurePolicy(c.GetFailurePolicy())
			change.FailurePolicy = &policy
		case "skip_after":
			limit := skipAfter(c.GetSkipAfter())
			change.SkipAfter = &limit
		}
	}
	if len(violations) > 0 {
		return store.ChannelChange{}, rpcerr.Invalid(violations...)
	}
	return change, nil
}
