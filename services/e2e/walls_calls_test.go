package e2e

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// place is an instance with one of everything that a request can name.
type place struct {
	instance, apiKey, agent, channel, botAPI string
	assistant, attendance                    int64
	// secret is the name of a secret.
	secret string
	// handed are attendances that people have, one for each call about such.
	handed [3]int64
	// person is a person whom only this place knows; attribute is the value of
	// each of their attributes; external is the id of another system.
	person, attribute, external string
	// key has every scope in the place.
	key string
	// message is an answer in the conversation interaction.
	message string
	// chat is a conversation that no channel has, and spoken an answer in it.
	chat, spoken string
	// delivery is one that is dead, for that contact in that interaction.
	delivery, contact, interaction string
	// pages are tokens of second pages, by the method that gave them.
	pages map[protoreflect.Name]string
}

// nowhere has the form of a place, and nothing of it exists.
var nowhere = place{
	instance: "nowhere", apiKey: "0123456789abcdef01234561", agent: "0123456789abcdef01234562", channel: "0123456789abcdef01234563",
	botAPI:  "0123456789abcdef01234564",
	message: "0123456789abcdef01234568",
	chat:    "0123456789abcdef01234569", spoken: "0123456789abcdef0123456a",
	delivery: "0123456789abcdef01234565", contact: "0123456789abcdef01234566", interaction: "0123456789abcdef01234567",
	assistant: 1 << 40, secret: "nowhere_secret", attendance: 1 << 41, handed: [3]int64{1 << 41, 1 << 41, 1 << 41}, person: "nobody", attribute: "99999999999", external: "nothing",
	pages: map[protoreflect.Name]string{
		"ListConversations": forged, "ListMessages": forged,
		"ListAgentVersions": forged, "ListSecrets": forged,
		"ListInstances": forged, "ListApiKeys": forged, "GetUsage": forged, "ListAgents": forged, "ListChannels": forged, "ListBotApis": forged,
		"ListErasures": forged, "ListDeliveries": forged, "ReplayDeliveries": forged, "QueryContacts": forged, "QueryEvents": forged,
	},
}

// forged is a page token that nobody gave.
const forged = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODkrLw"

// wallCalls says for each RPC that strangers may call how it is called in a
// place: requests that succeed there, and that fill, one or the other, every
// field by which something is named. TestWalls finds those fields itself, and
// puts another place's values into them.
var wallCalls = map[protoreflect.FullName]func(p place) []proto.Message{
	"prosa.accounts.v1.AccountsService.CreateInstance": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: p.instance}}}
	},
	"prosa.accounts.v1.AccountsService.ListInstances": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.ListInstancesRequest{PageSize: 1, PageToken: p.pages["ListInstances"]}}
	},
	"prosa.accounts.v1.AccountsService.GetInstance": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.GetInstanceRequest{Instance: p.instance}}
	},
	"prosa.accounts.v1.AccountsService.UpdateInstance": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.UpdateInstanceRequest{
			Slug: p.instance, Instance: &accountsv1.Instance{Slug: p.instance, DisplayName: "changed"}, UpdateMask: named("display_name"),
		}}
	},
	"prosa.accounts.v1.AccountsService.CreateApiKey": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.CreateApiKeyRequest{
			Instance: p.instance, ApiKey: &accountsv1.ApiKey{Id: p.apiKey, DisplayName: "another", Scopes: []string{"contacts.read"}},
		}}
	},
	"prosa.accounts.v1.AccountsService.ListApiKeys": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.ListApiKeysRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListApiKeys"]}}
	},
	"prosa.accounts.v1.AccountsService.GetApiKey": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.GetApiKeyRequest{Instance: p.instance, Id: p.apiKey}}
	},
	"prosa.accounts.v1.AccountsService.DeleteApiKey": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.DeleteApiKeyRequest{Instance: p.instance, Id: p.apiKey}}
	},
	"prosa.accounts.v1.UsageService.GetUsage": func(p place) []proto.Message {
		return []proto.Message{&accountsv1.GetUsageRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["GetUsage"]}}
	},

	"prosa.agent.v1.ChatService.CompleteChat": func(p place) []proto.Message {
		return []proto.Message{&agentv1.CompleteChatRequest{IdConversation: p.chat, Text: "oi"}}
	},
	"prosa.agent.v1.ChatService.StreamChat": func(p place) []proto.Message {
		return []proto.Message{&agentv1.StreamChatRequest{IdConversation: p.chat, Text: "oi"}}
	},
	"prosa.agent.v1.ChatService.ResumeChat": func(p place) []proto.Message {
		return []proto.Message{&agentv1.ResumeChatRequest{IdConversation: p.chat, Idmessage: p.spoken}}
	},
	"prosa.agent.v1.ChatService.StopChat": func(p place) []proto.Message {
		return []proto.Message{&agentv1.StopChatRequest{IdConversation: p.chat}}
	},
	"prosa.agent.v1.AgentService.CreateAgent": func(p place) []proto.Message {
		return []proto.Message{&agentv1.CreateAgentRequest{
			Instance: p.instance, Agent: &agentv1.Agent{Id: p.agent, AssistantId: p.assistant, Definition: structpb.NewStringValue(harness.Echo)},
		}}
	},
	"prosa.agent.v1.AgentService.ListAgents": func(p place) []proto.Message {
		return []proto.Message{&agentv1.ListAgentsRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListAgents"]}}
	},
	"prosa.agent.v1.AgentService.GetAgent": func(p place) []proto.Message {
		return []proto.Message{&agentv1.GetAgentRequest{Instance: p.instance, Id: p.agent}}
	},
	"prosa.agent.v1.AgentService.UpdateAgent": func(p place) []proto.Message {
		return []proto.Message{&agentv1.UpdateAgentRequest{
			Instance: p.instance, Id: p.agent, UpdateMask: named("display_name"),
			Agent: &agentv1.Agent{Id: p.agent, AssistantId: p.assistant, DisplayName: "changed"},
		}}
	},
	"prosa.agent.v1.AgentService.ListAgentVersions": func(p place) []proto.Message {
		return []proto.Message{&agentv1.ListAgentVersionsRequest{
			Instance: p.instance, Id: p.agent, PageSize: 1, PageToken: p.pages["ListAgentVersions"],
		}}
	},
	"prosa.agent.v1.AgentService.GetAgentVersion": func(p place) []proto.Message {
		return []proto.Message{&agentv1.GetAgentVersionRequest{Instance: p.instance, Id: p.agent, Version: 1}}
	},
	"prosa.agent.v1.AgentService.RollbackAgent": func(p place) []proto.Message {
		return []proto.Message{&agentv1.RollbackAgentRequest{Instance: p.instance, Id: p.agent, Version: 1}}
	},
	"prosa.agent.v1.AgentService.TestAgent": func(p place) []proto.Message {
		return []proto.Message{&agentv1.TestAgentRequest{Instance: p.instance, Id: p.agent, Text: "oi"}}
	},
	"prosa.agent.v1.ConversationService.ListConversations": func(p place) []proto.Message {
		request := &agentv1.ListConversationsRequest{}
		if cursor := p.pages["ListConversations"]; cursor != "" {
			request.Cursor, request.CurrentPage = cursor, 1
		}
		return []proto.Message{request}
	},
	"prosa.agent.v1.ConversationService.GetConversation": func(p place) []proto.Message {
		return []proto.Message{&agentv1.GetConversationRequest{IdConversation: p.interaction}}
	},
	"prosa.agent.v1.ConversationService.ListMessages": func(p place) []proto.Message {
		return []proto.Message{&agentv1.ListMessagesRequest{IdConversation: p.interaction, Cursor: p.pages["ListMessages"]}}
	},
	"prosa.agent.v1.ConversationService.CreateConversation": func(p place) []proto.Message {
		return []proto.Message{&agentv1.CreateConversationRequest{BotId: p.agent, Identifier: p.person}}
	},
	"prosa.agent.v1.ConversationService.UpdateConversation": func(p place) []proto.Message {
		pairs := &structpb.Struct{Fields: map[string]*structpb.Value{"changed": structpb.NewBoolValue(true)}}
		return []proto.Message{&agentv1.UpdateConversationRequest{ConvId: p.interaction, Meta: pairs}}
	},
	"prosa.agent.v1.ConversationService.RateMessage": func(p place) []proto.Message {
		return []proto.Message{&agentv1.RateMessageRequest{Idmessage: p.message, Feedback: "like"}}
	},
	"prosa.agent.v1.ConversationService.RateConversation": func(p place) []proto.Message {
		return []proto.Message{&agentv1.RateConversationRequest{Idconv: p.interaction, Survey: 5}}
	},

	"prosa.agent.v1.SecretService.SetSecret": func(p place) []proto.Message {
		return []proto.Message{&agentv1.SetSecretRequest{Instance: p.instance, Name: p.secret, Value: "changed"}}
	},
	"prosa.agent.v1.SecretService.ListSecrets": func(p place) []proto.Message {
		return []proto.Message{&agentv1.ListSecretsRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListSecrets"]}}
	},
	"prosa.agent.v1.SecretService.DeleteSecret": func(p place) []proto.Message {
		return []proto.Message{&agentv1.DeleteSecretRequest{Instance: p.instance, Name: p.secret}}
	},
	"prosa.agent.v1.AgentService.DeleteAgent": func(p place) []proto.Message {
		return []proto.Message{&agentv1.DeleteAgentRequest{Instance: p.instance, Id: p.agent}}
	},

	"prosa.agent.v1.HandoffService.HandBackAttendance": func(p place) []proto.Message {
		return []proto.Message{&agentv1.HandBackAttendanceRequest{Instance: p.instance, Id: p.handed[0]}}
	},
	"prosa.agent.v1.HandoffService.FinishAttendance": func(p place) []proto.Message {
		return []proto.Message{&agentv1.FinishAttendanceRequest{Instance: p.instance, Id: p.handed[1]}}
	},
	"prosa.channel.v1.ReplyService.ReplyToAttendance": func(p place) []proto.Message {
		return []proto.Message{&channelv1.ReplyToAttendanceRequest{Instance: p.instance, Id: p.handed[2], Text: "an answer"}}
	},

	"prosa.channel.v1.ChannelService.CreateChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.CreateChannelRequest{
			Instance: p.instance, Channel: &channelv1.Channel{Id: p.channel, AgentId: p.agent, WebhookUrl: "https://example.com/"},
		}}
	},
	"prosa.channel.v1.ChannelService.ListChannels": func(p place) []proto.Message {
		return []proto.Message{&channelv1.ListChannelsRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListChannels"]}}
	},
	"prosa.channel.v1.ChannelService.GetChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.GetChannelRequest{Instance: p.instance, Id: p.channel}}
	},
	"prosa.channel.v1.ChannelService.UpdateChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.UpdateChannelRequest{
			Instance: p.instance, Id: p.channel, UpdateMask: named("display_name", "agent_id"),
			Channel: &channelv1.Channel{Id: p.channel, AgentId: p.agent, DisplayName: "changed"},
		}}
	},
	"prosa.channel.v1.ChannelService.PauseChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.PauseChannelRequest{Instance: p.instance, Id: p.channel}}
	},
	"prosa.channel.v1.ChannelService.ResumeChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.ResumeChannelRequest{Instance: p.instance, Id: p.channel}}
	},
	"prosa.channel.v1.ChannelService.RotateChannelSecret": func(p place) []proto.Message {
		return []proto.Message{&channelv1.RotateChannelSecretRequest{Instance: p.instance, Id: p.channel}}
	},
	"prosa.channel.v1.ChannelService.CheckChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.CheckChannelRequest{Instance: p.instance, Id: p.channel}}
	},
	"prosa.channel.v1.ChannelService.DeleteChannel": func(p place) []proto.Message {
		return []proto.Message{&channelv1.DeleteChannelRequest{Instance: p.instance, Id: p.channel}}
	},

	"prosa.channel.v1.BotApiService.CreateBotApi": func(p place) []proto.Message {
		return []proto.Message{&channelv1.CreateBotApiRequest{
			Instance: p.instance, BotApi: &channelv1.BotApi{Id: p.botAPI, AgentId: p.agent},
		}}
	},
	"prosa.channel.v1.BotApiService.ListBotApis": func(p place) []proto.Message {
		return []proto.Message{&channelv1.ListBotApisRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListBotApis"]}}
	},
	"prosa.channel.v1.BotApiService.GetBotApi": func(p place) []proto.Message {
		return []proto.Message{&channelv1.GetBotApiRequest{Instance: p.instance, Id: p.botAPI}}
	},
	"prosa.channel.v1.BotApiService.UpdateBotApi": func(p place) []proto.Message {
		return []proto.Message{&channelv1.UpdateBotApiRequest{
			Instance: p.instance, Id: p.botAPI, UpdateMask: named("display_name", "agent_id"),
			BotApi: &channelv1.BotApi{Id: p.botAPI, AgentId: p.agent, DisplayName: "changed"},
		}}
	},
	"prosa.channel.v1.BotApiService.RotateBotApiToken": func(p place) []proto.Message {
		return []proto.Message{&channelv1.RotateBotApiTokenRequest{Instance: p.instance, Id: p.botAPI}}
	},
	"prosa.channel.v1.BotApiService.RotateBotApiSecret": func(p place) []proto.Message {
		return []proto.Message{&channelv1.RotateBotApiSecretRequest{Instance: p.instance, Id: p.botAPI}}
	},
	"prosa.channel.v1.BotApiService.PauseBotApi": func(p place) []proto.Message {
		return []proto.Message{&channelv1.PauseBotApiRequest{Instance: p.instance, Id: p.botAPI}}
	},
	"prosa.channel.v1.BotApiService.ResumeBotApi": func(p place) []proto.Message {
		return []proto.Message{&channelv1.ResumeBotApiRequest{Instance: p.instance, Id: p.botAPI}}
	},
	"prosa.channel.v1.BotApiService.DeleteBotApi": func(p place) []proto.Message {
		return []proto.Message{&channelv1.DeleteBotApiRequest{Instance: p.instance, Id: p.botAPI}}
	},

	"prosa.channel.v1.DeliveryService.ListDeliveries": func(p place) []proto.Message {
		return []proto.Message{
			&channelv1.ListDeliveriesRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListDeliveries"]},
			&channelv1.ListDeliveriesRequest{Instance: p.instance, EndpointId: p.channel, ContactId: p.contact, InteractionId: p.interaction},
			&channelv1.ListDeliveriesRequest{Instance: p.instance, EndpointId: p.channel, State: []channelv1.Delivery_State{channelv1.Delivery_DEAD}},
		}
	},
	"prosa.channel.v1.PersonService.GetContact": func(p place) []proto.Message {
		return []proto.Message{&channelv1.GetContactRequest{Instance: p.instance, Identifier: p.person}}
	},
	"prosa.channel.v1.PersonService.EraseContact": func(p place) []proto.Message {
		return []proto.Message{
			&channelv1.EraseContactRequest{Instance: p.instance, Identifier: p.person, DryRun: true},
			&channelv1.EraseContactRequest{Instance: p.instance, Identifier: "nobody but " + p.person},
		}
	},
	"prosa.channel.v1.PersonService.ListErasures": func(p place) []proto.Message {
		return []proto.Message{&channelv1.ListErasuresRequest{Instance: p.instance, PageSize: 1, PageToken: p.pages["ListErasures"]}}
	},

	"prosa.channel.v1.DeliveryService.GetDelivery": func(p place) []proto.Message {
		return []proto.Message{&channelv1.GetDeliveryRequest{Instance: p.instance, Id: p.delivery}}
	},
	"prosa.channel.v1.DeliveryService.RetryDelivery": func(p place) []proto.Message {
		return []proto.Message{&channelv1.RetryDeliveryRequest{Instance: p.instance, Id: p.delivery}}
	},
	"prosa.channel.v1.DeliveryService.ReplayDeliveries": func(p place) []proto.Message {
		return []proto.Message{
			&channelv1.ReplayDeliveriesRequest{Instance: p.instance, EndpointId: p.channel, PageToken: p.pages["ReplayDeliveries"]},
		}
	},

	"prosa.contacts.v1.AttendanceService.ImportAttendances": func(p place) []proto.Message {
		return []proto.Message{importOf(p, "-import")}
	},

	"prosa.contacts.v1.ContactsService.QueryEvents": func(p place) []proto.Message {
		requests := []proto.Message{&contactsv1.QueryEventsRequest{
			Instance: p.instance, Filters: &contactsv1.EventFilters{Limit: proto.Int32(1)}, Pagination: p.pages["QueryEvents"],
		}}
		for _, f := range []*contactsv1.EventFilters{
			{AssistantId: &p.assistant}, {Identifier: &p.person}, {ContactId: &p.attendance}, {ExternalId: &p.external},
		} {
			requests = append(requests, &contactsv1.QueryEventsRequest{Instance: p.instance, Filters: f})
		}
		return requests
	},

	"prosa.contacts.v1.ContactsService.QueryContacts": func(p place) []proto.Message {
		filters := []*contactsv1.ContactFilters{
			{Id: &p.attendance}, {AssistantId: &p.assistant}, {Identifier: &p.person}, {ExternalId: &p.external},
		}
		attributes := []*contactsv1.ContactAttributes{
			{Cpf: &p.attribute}, {Phone: &p.attribute}, {Email: &p.attribute}, {IdentificationNumber: &p.attribute},
			{IdentificationNumber2: &p.attribute}, {IdentificationNumber3: &p.attribute}, {IdentificationNumber4: &p.attribute},
		}
		requests := []proto.Message{&contactsv1.QueryContactsRequest{
			Instance: p.instance, Filters: &contactsv1.ContactFilters{Limit: proto.Int32(1)}, Pagination: p.pages["QueryContacts"],
		}}
		flags := &contactsv1.ContactFlags{History: true, Events: true}
		for _, f := range filters {
			requests = append(requests, &contactsv1.QueryContactsRequest{Instance: p.instance, Filters: f, Flags: flags})
		}
		for _, a := range attributes {
			requests = append(requests, &contactsv1.QueryContactsRequest{Instance: p.instance, Attributes: a, Flags: flags})
		}
		return requests
	},
}

// capabilities are the RPCs that anyone may call because what they name cannot
// be guessed: to know it is the right. There is nothing to compare.
var capabilities = map[protoreflect.FullName]string{
	"prosa.channel.v1.InboundService.ReceiveMessage":          "the channel's id is the capability",
	"prosa.channel.v1.BotApiInboundService.ReceiveBotMessage": "the integration's token is the capability",
}

func named(fields ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: fields} }

// importOf is an attendance, with an event, that a place had in another system.
func importOf(p place, suffix string) *contactsv1.ImportAttendancesRequest {
	at, external := timestamppb.New(time.Date(2020, 6, 1, 12, 0, 0, 0, time.UTC)), p.external+suffix
	return &contactsv1.ImportAttendancesRequest{Instance: p.instance, Attendances: []*contactsv1.ImportedAttendance{{
		ExternalId: external, Identifier: p.person, AssistantId: p.assistant, Source: "widget", CreateTime: at,
		Events: []*contactsv1.ImportedEvent{{Time: at, EventName: "imported", ExternalId: &external}},
	}}}
}
