package channels

import (
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// mutable are the fields that an update may name, in the order of the contract.
var mutable = []string{"display_name", "agent_id", "webhook_url", "inbound_token", "acknowledgement", "timeout"}

// changes reads an update: what the mask names; without a mask every field
// that is set (AIP-134); with "*" every field that can be changed. token hashes
// an inbound token. The error is REQUEST_INVALID with every field that is wrong.
func changes(c *channelv1.Channel, mask *fieldmaskpb.FieldMask, token func(string) []byte) (store.ChannelChange, error) {
	var (
		change     store.ChannelChange
		violations []rpcerr.Violation
	)
	for _, path := range paths(c, mask) {
		switch path {
		case "display_name":
			name := c.GetDisplayName()
			change.DisplayName = &name
		case "agent_id":
			if c.GetAgentId() == "" {
				violations = append(violations, rpcerr.Violation{Field: "agentId", Reason: "is required"})
			}
			agent := c.GetAgentId()
			change.AgentID = &agent
		case "webhook_url":
			if c.GetWebhookUrl() == "" {
				violations = append(violations, rpcerr.Violation{Field: "webhookUrl", Reason: "is required"})
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
		default:
			violations = append(violations, violation(c, path))
		}
	}
	if len(violations) > 0 {
		return store.ChannelChange{}, rpcerr.Invalid(violations...)
	}
	return change, nil
}

// violation says why a path cannot be updated.
func violation(c *channelv1.Channel, path string) rpcerr.Violation {
	name, _, nested := strings.Cut(path, ".")
	field := c.ProtoReflect().Descriptor().Fields().ByTextName(name)
	if field == nil || nested {
		return rpcerr.Violation{Field: "updateMask", Reason: "names a field that does not exist"}
	}
	return rpcerr.Violation{Field: field.JSONName(), Reason: "cannot be changed"}
}

func paths(c *channelv1.Channel, mask *fieldmaskpb.FieldMask) []string {
	named := mask.GetPaths()
	if len(named) == 1 && named[0] == "*" {
		return mutable
	}
	if len(named) > 0 {
		return named
	}
	var set []string
	reflected := c.ProtoReflect()
	for _, path := range mutable {
		if reflected.Has(reflected.Descriptor().Fields().ByTextName(path)) {
			set = append(set, path)
		}
	}
	return set
}
