package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

const (
	// sharedPerson is known in both places.
	sharedPerson = "pessoa"
	// inboundToken ends the token of a place's channel, after its instance.
	inboundToken = "-inbound-token-0123456789"
	// secretValue ends the value of a place's secret, after its name.
	secretValue = "-value-0123456789"
	// answered begins what world.call gives for an answer.
	answered = "OK "
)

// learner is an agent that keeps what it is told as every attribute, until
// somebody asks for people.
const learner = `
displayName: Aprende
fallback: learn
intents: [{name: people, examples: [atendente], goto: people}]
nodes:
  people: {handoff: {squad: geral}}
  learn:
    set:
      contact.cpf: "{{ input.text }}"
      contact.phone: "{{ input.text }}"
      contact.email: "{{ input.text }}"
      contact.identification_number: "{{ input.text }}"
      contact.identification_number2: "{{ input.text }}"
      contact.identification_number3: "{{ input.text }}"
      contact.identification_number4: "{{ input.text }}"
    say: [{text: "{{ instance.slug }}: {{ input.text }}"}]
    event: {name: learned, details: {what: "{{ input.text }}"}}
`

// secretForms are the forms of a whole key, a signing secret and an inbound
// token.
var secretForms = regexp.MustCompile(`psk_[0-9a-f]{24}_[0-9A-Za-z_-]{20,}|whsec_[0-9A-Za-z+/=]{20,}|pbt_[0-9A-Za-z_-]{20,}|` + inboundToken)

// world is two places with all that tests of the walls between them need.
type world struct {
	conn        grpc.ClientConnInterface
	own, theirs place
	// key has every scope in the own place, botToken is that of its integration.
	key, botToken string
	// secrets must be in no answer, marks of the other place in none that is
	// given to the own key.
	secrets, marks []string
}

// newWorld makes both places with the same idempotency keys and persons.
func newWorld(t *testing.T, conn grpc.ClientConnInterface) *world {
	t.Helper()
	w := &world{conn: conn, secrets: []string{harness.RootKey, harness.SecretKey}}
	w.own, w.key = w.newPlace(t, "ours", "10000000001", 2)
	w.botToken = w.secrets[len(w.secrets)-1]
	var theirKey string
	w.theirs, theirKey = w.newPlace(t, "theirs", "20000000002", 3)
	w.secrets = append(w.secrets, w.key, theirKey)
	for _, id := range [][2]string{{w.own.agent, w.theirs.agent}, {w.own.channel, w.theirs.channel}, {w.own.botAPI, w.theirs.botAPI}, {w.own.apiKey, w.theirs.apiKey}} {
		require.NotEqual(t, id[0], id[1], "an idempotency key is its instance's")
	}
	w.marks = []string{w.theirs.instance + ":", w.theirs.agent, w.theirs.channel, w.theirs.botAPI, w.theirs.apiKey, w.theirs.person, w.theirs.attribute,
		w.theirs.delivery, w.theirs.contact, w.theirs.interaction}
	return w
}

// newPlace makes an instance with so many agents, channels, keys and
// attendances. The newest attendance is that of a person whom only it knows.
func (w *world) newPlace(t *testing.T, instance, attribute string, size int) (place, string) {
	t.Helper()
	p := place{instance: instance, person: instance + "-person", attribute: attribute, external: instance + "-external", assistant: int64(size)}
	w.must(t, &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: instance}}, "CreateInstance", "")
	var key string
	for i := range size {
		once := fmt.Sprintf("the same in every place %d", i)
		agent := w.must(t, &agentv1.CreateAgentRequest{
			Instance: instance, Agent: &agentv1.Agent{Definition: structpb.NewStringValue(learner)},
		}, "CreateAgent", once).(*agentv1.CreateAgentResponse).GetAgent()
		channel := w.must(t, &channelv1.CreateChannelRequest{
			Instance: instance, Channel: &channelv1.Channel{AgentId: agent.GetId(), WebhookUrl: "https://127.0.0.1:1/", InboundToken: instance + inboundToken},
		}, "CreateChannel", once).(*channelv1.CreateChannelResponse).GetChannel()
		made := w.must(t, &accountsv1.CreateApiKeyRequest{
			Instance: instance, ApiKey: &accountsv1.ApiKey{Scopes: []string{"contacts.read", "conversations", "manage"}},
		}, "CreateApiKey", once).(*accountsv1.CreateApiKeyResponse).GetApiKey()
		w.secrets = append(w.secrets, channel.GetSigningSecret(), made.GetKey())
		if i == 0 {
			key = made.GetKey() // the last is the one that requests name, and delete
		}
		p.agent, p.channel, p.apiKey = agent.GetId(), channel.GetId(), made.GetId()
	}
	for _, name := range []string{instance + "_another", instance + "_secret"} {
		p.secret = name
		w.must(t, &agentv1.SetSecretRequest{Instance: instance, Name: name, Value: name + secretValue}, "SetSecret", "")
		w.secrets = append(w.secrets, name+secretValue)
	}
	w.must(t, &agentv1.UpdateAgentRequest{
		Instance: instance, Id: p.agent, Agent: &agentv1.Agent{Definition: structpb.NewStringValue(learner)}, UpdateMask: named("definition"),
	}, "UpdateAgent", "")
	w.secrets = append(w.secrets, instance+inboundToken)
	for i := range size {
		made := w.must(t, &channelv1.CreateBotApiRequest{Instance: instance, BotApi: &channelv1.BotApi{AgentId: p.agent}}, "CreateBotApi",
			fmt.Sprintf("the same in every place %d", i)).(*channelv1.CreateBotApiResponse).GetBotApi()
		p.botAPI, w.secrets = made.GetId(), append(w.secrets, made.GetSigningSecret(), made.GetToken())
	}
	for i := range size {
		person, text := sharedPerson, "hello"
		if i > 0 {
			person = fmt.Sprintf("%s-%d", instance, i)
		}
		if i == size-1 {
			person, text = p.person, attribute
		}
		w.speak(t, p, person, text, int64(i+1))
	}
	// Imports make the numbers of one place go further than those of the other.
	suffixes := []string{"", "-import"}
	for n := len(suffixes) + size; n < 10*size; n++ {
		suffixes = append(suffixes, fmt.Sprint("-", n))
	}
	for _, suffix := range suffixes {
		imported := w.must(t, importOf(p, suffix), "ImportAttendances", "").(*contactsv1.ImportAttendancesResponse).GetAttendances()
		p.attendance = imported[0].GetId()
	}
	for i := range p.handed {
		p.handed[i] = p.attendance + int64(i) + 1
		w.speak(t, p, fmt.Sprintf("%s-handed-%d", instance, i), "atendente", p.handed[i])
	}
	w.bury(t, &p, size)
	for n := range 2 {
		w.must(t, &channelv1.EraseContactRequest{Instance: instance, Identifier: fmt.Sprint("nobody ", n)}, "EraseContact", "")
	}
	p.key = key
	said := &agentv1.ListMessagesRequest{IdConversation: p.interaction}
	p.message = w.mustAs(t, key, said, "ListMessages", "").(*agentv1.ListMessagesResponse).GetMessages()[1].GetId()
	p.chat = w.mustAs(t, key, &agentv1.CreateConversationRequest{BotId: p.agent}, "CreateConversation", "").(*agentv1.CreateConversationResponse).GetId()
	p.spoken = w.mustAs(t, key, &agentv1.CompleteChatRequest{IdConversation: p.chat, Text: "oi"}, "CompleteChat", "").(*agentv1.CompleteChatResponse).GetId()
	chat := &contactsv1.QueryContactsRequest{Instance: instance, Filters: &contactsv1.ContactFilters{Identifier: &p.chat}}
	require.Eventually(t, func() bool {
		found := w.must(t, chat, "QueryContacts", "").(*contactsv1.QueryContactsResponse).GetContacts()
		return len(found) == 1 && found[0].GetInteractions() == 1
	}, stepWithin, queryPause)
	said.Limit = proto.Int32(1)
	p.pages = map[protoreflect.Name]string{
		"ListInstances": w.must(t, &accountsv1.ListInstancesRequest{PageSize: 1}, "ListInstances", "").(*accountsv1.ListInstancesResponse).GetNextPageToken(),
		"ListApiKeys":   w.must(t, &accountsv1.ListApiKeysRequest{Instance: instance, PageSize: 1}, "ListApiKeys", "").(*accountsv1.ListApiKeysResponse).GetNextPageToken(),
		"ListConversations": w.mustAs(t, key, &agentv1.ListConversationsRequest{
			Limit: proto.Int32(1),
		}, "ListConversations", "").(*agentv1.ListConversationsResponse).GetCursor(),
		"ListMessages": w.mustAs(t, key, said, "ListMessages", "").(*agentv1.ListMessagesResponse).GetCursor(),
		"ListAgentVersions": w.must(t, &agentv1.ListAgentVersionsRequest{
			Instance: instance, Id: p.agent, PageSize: 1,
		}, "ListAgentVersions", "").(*agentv1.ListAgentVersionsResponse).GetNextPageToken(),
		"ListSecrets":      w.must(t, &agentv1.ListSecretsRequest{Instance: instance, PageSize: 1}, "ListSecrets", "").(*agentv1.ListSecretsResponse).GetNextPageToken(),
		"GetUsage":         w.must(t, &accountsv1.GetUsageRequest{Instance: instance, PageSize: 1}, "GetUsage", "").(*accountsv1.GetUsageResponse).GetNextPageToken(),
		"ListAgents":       w.must(t, &agentv1.ListAgentsRequest{Instance: instance, PageSize: 1}, "ListAgents", "").(*agentv1.ListAgentsResponse).GetNextPageToken(),
		"ListChannels":     w.must(t, &channelv1.ListChannelsRequest{Instance: instance, PageSize: 1}, "ListChannels", "").(*channelv1.ListChannelsResponse).GetNextPageToken(),
		"ListBotApis":      w.must(t, &channelv1.ListBotApisRequest{Instance: instance, PageSize: 1}, "ListBotApis", "").(*channelv1.ListBotApisResponse).GetNextPageToken(),
		"ReplayDeliveries": w.replayToken(t, p),
		"ListErasures":     w.must(t, &channelv1.ListErasuresRequest{Instance: instance, PageSize: 1}, "ListErasures", "").(*channelv1.ListErasuresResponse).GetNextPageToken(),
		"ListDeliveries":   w.must(t, &channelv1.ListDeliveriesRequest{Instance: instance, PageSize: 1}, "ListDeliveries", "").(*channelv1.ListDeliveriesResponse).GetNextPageToken(),
		"QueryContacts": w.must(t, &contactsv1.QueryContactsRequest{
			Instance: instance, Filters: &contactsv1.ContactFilters{Limit: proto.Int32(1)},
		}, "QueryContacts", "").(*contactsv1.QueryContactsResponse).GetPagination(),
		"QueryEvents": w.must(t, &contactsv1.QueryEventsRequest{
			Instance: instance, Filters: &contactsv1.EventFilters{Limit: proto.Int32(1)},
		}, "QueryEvents", "").(*contactsv1.QueryEventsResponse).GetPagination(),
	}
	if p.pages["ListInstances"] == "" {
		p.pages["ListInstances"] = forged + instance // there is one instance yet
	}
	return p, key
}

// bury waits until all deliveries of a place are dead: their target is one that
// must not be called.
func (w *world) bury(t *testing.T, p *place, size int) {
	t.Helper()
	dead := &channelv1.ListDeliveriesRequest{Instance: p.instance, State: []channelv1.Delivery_State{channelv1.Delivery_DEAD}}
	var all []*channelv1.Delivery
	require.Eventually(t, func() bool {
		all = w.must(t, dead, "ListDeliveries", "").(*channelv1.ListDeliveriesResponse).GetDeliveries()
		return len(all) == size
	}, stepWithin, queryPause)
	p.delivery, p.contact, p.interaction = all[0].GetId(), all[0].GetContactId(), all[0].GetInteractionId()
}

// replayToken is what a replay answers that has no time for anything.
func (w *world) replayToken(t *testing.T, p place) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+harness.RootKey), 1500*time.Millisecond)
	defer cancel()
	got, err := channelv1.NewDeliveryServiceClient(w.conn).ReplayDeliveries(ctx,
		&channelv1.ReplayDeliveriesRequest{Instance: p.instance, EndpointId: p.channel})
	require.NoError(t, err)
	require.Zero(t, got.GetCount())
	require.NotEmpty(t, got.GetNextPageToken())
	return got.GetNextPageToken()
}

// speak has a person say something, and waits until it is remembered as the
// attendance of that number.
func (w *world) speak(t *testing.T, p place, person, text string, attendance int64) {
	t.Helper()
	method := methodNamed(t, "prosa.channel.v1.InboundService.ReceiveMessage")
	got := w.call(t, p.instance+inboundToken, method, &channelv1.ReceiveMessageRequest{
		ChannelId: p.channel, ClientIdentifier: person, Type: "text", Text: text,
	})
	require.True(t, strings.HasPrefix(got, answered), got)
	query := &contactsv1.QueryContactsRequest{Instance: p.instance, Filters: &contactsv1.ContactFilters{Id: &attendance}}
	require.Eventually(t, func() bool {
		found := w.must(t, query, "QueryContacts", "").(*contactsv1.QueryContactsResponse).GetContacts()
		return len(found) == 1 && found[0].GetInteractions() == 1 && found[0].GetIdentifier() == person
	}, stepWithin, queryPause)
}

// must makes a call with the root key that succeeds.
func (w *world) must(t *testing.T, request proto.Message, name protoreflect.Name, idempotencyKey string) proto.Message {
	t.Helper()
	return w.mustAs(t, harness.RootKey, request, name, idempotencyKey)
}

// mustAs makes a call that succeeds.
func (w *world) mustAs(t *testing.T, key string, request proto.Message, name protoreflect.Name, idempotencyKey string) proto.Message {
	t.Helper()
	for _, method := range contractMethods() {
		if method.Name() != name {
			continue
		}
		reply := newMessage(t, method.Output())
		require.NoError(t, w.invoke(t, key, idempotencyKey, method, request, reply))
		return reply
	}
	require.Fail(t, "no such RPC", name)
	return nil
}

// call makes a call and gives its outcome as text: answered and the answer, or
// the status with its details. Secrets that were made before are in neither.
func (w *world) call(t *testing.T, key string, method protoreflect.MethodDescriptor, request proto.Message) string {
	t.Helper()
	reply := newMessage(t, method.Output())
	err := w.invoke(t, key, "", method, request, reply)
	outcome := answered + compactJSON(t, reply)
	if err != nil {
		s := status.Convert(err)
		outcome = s.Code().String() + " " + compactJSON(t, s.Proto())
	}
	for _, secret := range w.secrets {
		require.NotContains(t, outcome, secret, method.FullName())
	}
	return outcome
}

// invoke makes a call, again when the key had too many.
func (w *world) invoke(t *testing.T, key, idempotencyKey string, method protoreflect.MethodDescriptor, request, reply proto.Message) error {
	t.Helper()
	ctx := callWithin(t)
	if key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	if idempotencyKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", idempotencyKey)
	}
	for {
		err := invoke(ctx, w.conn, method, request, reply)
		if status.Code(err) != codes.ResourceExhausted {
			return err
		}
		select {
		case <-time.After(queryPause):
		case <-ctx.Done():
			return err
		}
	}
}

// invoke makes a call; the reply of a stream is the last one.
func invoke(ctx context.Context, conn grpc.ClientConnInterface, method protoreflect.MethodDescriptor, request, reply proto.Message) error {
	name := "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
	if !method.IsStreamingServer() {
		return conn.Invoke(ctx, name, request, reply)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(reply); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func compactJSON(t *testing.T, message proto.Message) string {
	t.Helper()
	text, err := protojson.Marshal(message)
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, text))
	return compact.String()
}

// What differs between two answers that mean the same: fresh ids, secrets and
// numbers, times, and the id of the request.
var (
	requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)
	freshIDs   = regexp.MustCompile(`\b[0-9a-f]{24}\b|psk_[0-9A-Za-z_-]+|whsec_[0-9A-Za-z+/=]+|pbt_[0-9A-Za-z_-]+|"(assistantI|i)d":"[0-9]+"|"[0-9-]{10}T[0-9:.]+Z"`)
)

// neutral takes out of an outcome what the request named and what is fresh.
func neutral(t *testing.T, outcome string, request proto.Message) string {
	t.Helper()
	outcome = requestIDs.ReplaceAllString(outcome, `"request_id":""`)
	for _, field := range nameFields(t, request.ProtoReflect().Descriptor()) {
		if value := field.value(request); field.last().Kind() == protoreflect.StringKind && value.String() != "" {
			outcome = strings.ReplaceAll(outcome, value.String(), "<named>")
		}
	}
	return freshIDs.ReplaceAllString(outcome, "<fresh>")
}
