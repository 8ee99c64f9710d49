package agent_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func object(t *testing.T) *structpb.Value {
	t.Helper()
	v, err := structpb.NewStruct(map[string]any{
		"displayName": "Eco <JSON> & “açaí”", "fallback": "eco", "threshold": 0.25,
		"nodes": map[string]any{"eco": map[string]any{"say": []any{map[string]any{"text": "json: {{ input.text }}"}}, "end": true}},
	})
	require.NoError(t, err)
	return structpb.NewStructValue(v)
}

func TestDefinitionIsGivenBackAsSent(t *testing.T) {
	for name, sent := range map[string]func(*testing.T) *structpb.Value{
		"yaml": func(*testing.T) *structpb.Value { return yaml("# comentário\n" + eco + "\n\n") },
		"json": func(*testing.T) *structpb.Value {
			return yaml(`{"displayName":"Eco","fallback":"eco","nodes":{"eco":{"say":[{"text":"x"}]}}}`)
		},
		"objects": object,
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				created := f.create(t, "acme", &agentv1.Agent{Definition: sent(t)})
				requireEqual(t, sent(t), created.GetDefinition())
				requireEqual(t, created, f.get(t, "acme", created.GetId()))
			})
		})
	}
}

func TestCreatedAgent(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		created := f.create(t, "acme", &agentv1.Agent{
			DisplayName: "Loja", Description: "Atende", Id: "ignored", AssistantId: 99, Version: 99, CreateTime: timestamppb.New(time.Unix(1, 0)),
		})
		require.True(t, id.Valid(created.GetId()))
		now := timestamppb.New(start.Truncate(time.Microsecond))
		requireEqual(t, &agentv1.Agent{
			Id: created.GetId(), AssistantId: 1, DisplayName: "Loja", Description: "Atende", Version: 1, Definition: yaml(eco),
			CreateTime: now, UpdateTime: now,
		}, created)
		named := f.create(t, "acme", &agentv1.Agent{})
		require.Equal(t, "Eco", named.GetDisplayName())
		require.Equal(t, "Repete", named.GetDescription())
		require.EqualValues(t, 2, named.GetAssistantId())
		require.EqualValues(t, 1, f.create(t, "other", &agentv1.Agent{}).GetAssistantId())
	})
}

func TestCreateIsIdempotent(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		request := &agentv1.CreateAgentRequest{Instance: "acme", Agent: &agentv1.Agent{Definition: object(t)}}
		ctx := withKey(t.Context(), "k")
		first, err := f.CreateAgent(ctx, request)
		require.NoError(t, err)
		f.clock.Advance(time.Hour)
		name := "Outro"
		_, err = f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{
			Instance: "acme", Id: first.GetAgent().GetId(), Agent: &agentv1.Agent{DisplayName: name},
		})
		require.NoError(t, err)
		again, err := f.CreateAgent(ctx, proto.CloneOf(request))
		require.NoError(t, err)
		requireEqual(t, first, again)

		other := proto.CloneOf(request)
		other.Agent.DisplayName = "x"
		_, err = f.CreateAgent(ctx, other)
		requireReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")

		elsewhere := proto.CloneOf(request)
		elsewhere.Instance = "other"
		there, err := f.CreateAgent(ctx, elsewhere)
		require.NoError(t, err, "each instance has its own keys")
		require.NotEqual(t, first.GetAgent().GetId(), there.GetAgent().GetId())

		f.clock.Advance(24 * time.Hour)
		later, err := f.CreateAgent(ctx, request)
		require.NoError(t, err)
		require.NotEqual(t, first.GetAgent().GetId(), later.GetAgent().GetId())
		require.EqualValues(t, 2, later.GetAgent().GetAssistantId())
	})
}

func TestSameKeyManyTimesAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const callers = 20
		ids := make([]string, callers)
		errs := make([]error, callers)
		var done sync.WaitGroup
		for i := range callers {
			done.Go(func() {
				response, err := f.CreateAgent(withKey(t.Context(), "k"), &agentv1.CreateAgentRequest{
					Instance: "acme", Agent: &agentv1.Agent{Definition: yaml(eco)},
				})
				ids[i], errs[i] = response.GetAgent().GetId(), err
			})
		}
		done.Wait()
		for i := range callers {
			require.NoError(t, errs[i])
			require.Equal(t, ids[0], ids[i])
		}
		list, err := f.ListAgents(t.Context(), &agentv1.ListAgentsRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Len(t, list.GetAgents(), 1)
	})
}

func TestIdempotencyKeyLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		create := func(ctx context.Context) error {
			_, err := f.CreateAgent(ctx, &agentv1.CreateAgentRequest{Instance: "acme", Agent: &agentv1.Agent{Definition: yaml(eco)}})
			return err
		}
		require.NoError(t, create(withKey(t.Context(), "k")))
		require.NoError(t, create(withKey(t.Context(), strings.Repeat("k", 255))))
		for _, ctx := range []context.Context{
			withKey(t.Context(), ""), withKey(t.Context(), strings.Repeat("k", 256)),
			metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", "a", "idempotency-key", "b"),
		} {
			requireReason(t, create(ctx), codes.InvalidArgument, "REQUEST_INVALID")
		}
	})
}

func TestBadDefinitionListsEveryFault(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		bad := "displayName: X\nfallback: nowhere\nnodes:\n  a:\n    goto: missing\n"
		created := f.create(t, "acme", &agentv1.Agent{})
		for name, call := range map[string]func(*structpb.Value) error{
			"create": func(v *structpb.Value) error {
				_, err := f.CreateAgent(t.Context(), &agentv1.CreateAgentRequest{Instance: "acme", Agent: &agentv1.Agent{Definition: v}})
				return err
			},
			"update": func(v *structpb.Value) error {
				_, err := f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{
					Instance: "acme", Id: created.GetId(), Agent: &agentv1.Agent{Definition: v},
				})
				return err
			},
		} {
			err := call(yaml(bad))
			requireReason(t, err, codes.InvalidArgument, "AGENT_DEFINITION_INVALID")
			violations := rpcerr.Violations(status.Convert(err))
			require.GreaterOrEqual(t, len(violations), 2, name)
			require.Equal(t, "agent.definition.fallback", violations[0].Field)
			require.Regexp(t, `^line 2, column \d+: `, violations[0].Reason)
			for _, kind := range []*structpb.Value{structpb.NewNullValue(), structpb.NewNumberValue(1), structpb.NewBoolValue(true), yaml("")} {
				requireReason(t, call(kind), codes.InvalidArgument, "AGENT_DEFINITION_INVALID")
			}
		}
		requireEqual(t, created, f.get(t, "acme", created.GetId()))
		_, err := f.CreateAgent(t.Context(), &agentv1.CreateAgentRequest{Instance: "acme", Agent: &agentv1.Agent{}})
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
	})
}

func TestFaultsAreBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var text strings.Builder
		text.WriteString("displayName: X\nfallback: n0\nnodes:\n")
		for i := range 600 {
			fmt.Fprintf(&text, "  n%d: {branch: [{when: \"input.text == 'x'\", goto: missing}, {goto: n%d}]}\n", i, (i+1)%600)
		}
		_, err := f.CreateAgent(t.Context(), &agentv1.CreateAgentRequest{
			Instance: "acme", Agent: &agentv1.Agent{Definition: yaml(text.String())},
		})
		requireReason(t, err, codes.InvalidArgument, "AGENT_DEFINITION_INVALID")
		violations := rpcerr.Violations(status.Convert(err))
		require.Len(t, violations, 501)
		require.Contains(t, violations[500].Reason, "more faults")
	})
}

func TestUnknownInstance(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		_, err := f.CreateAgent(t.Context(), &agentv1.CreateAgentRequest{Instance: "nobody", Agent: &agentv1.Agent{Definition: yaml(eco)}})
		requireReason(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
		_, err = f.ListAgents(t.Context(), &agentv1.ListAgentsRequest{Instance: "nobody"})
		requireReason(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
		require.Equal(t, 2, f.instances.asked)
		f.principal = auth.Principal{Instance: "acme", Scopes: []string{auth.ScopeManage}}
		f.create(t, "acme", &agentv1.Agent{})
		require.Equal(t, 2, f.instances.asked, "a key of the instance shows that there is one")
	})
}

func TestListPages(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const agents = 51
		for range agents {
			f.create(t, "acme", &agentv1.Agent{})
		}
		f.create(t, "other", &agentv1.Agent{})
		page := func(size int32, token string) *agentv1.ListAgentsResponse {
			response, err := f.ListAgents(t.Context(), &agentv1.ListAgentsRequest{Instance: "acme", PageSize: size, PageToken: token})
			require.NoError(t, err)
			return response
		}
		require.Len(t, page(0, "").GetAgents(), 50)
		require.Len(t, page(500, "").GetAgents(), agents)
		require.Empty(t, page(500, "").GetNextPageToken())
		require.Empty(t, page(agents, "").GetNextPageToken())
		require.NotEmpty(t, page(agents-1, "").GetNextPageToken())

		var numbers []int64
		token := ""
		for {
			response := page(20, token)
			for _, a := range response.GetAgents() {
				require.Nil(t, a.GetDefinition())
				require.Equal(t, "Eco", a.GetDisplayName())
				numbers = append(numbers, a.GetAssistantId())
			}
			f.create(t, "acme", &agentv1.Agent{}) // what comes later disturbs nothing
			if token = response.GetNextPageToken(); token == "" || len(numbers) >= agents {
				break
			}
		}
		for i, n := range numbers {
			require.EqualValues(t, i+1, n)
		}
	})
}

func TestPageTokensThatAreNotThisLists(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for range 2 {
			f.create(t, "acme", &agentv1.Agent{})
			f.create(t, "other", &agentv1.Agent{})
		}
		list := func(instance, token string) (*agentv1.ListAgentsResponse, error) {
			return f.ListAgents(t.Context(), &agentv1.ListAgentsRequest{Instance: instance, PageSize: 1, PageToken: token})
		}
		first, err := list("acme", "")
		require.NoError(t, err)
		token := first.GetNextPageToken()
		_, err = list("acme", token)
		require.NoError(t, err)
		foreign := pagetoken.New(f.deps.Box.Derive("agent/pagetoken"), f.clock).Encode("acme", "another list", make([]byte, 8))
		for name, bad := range map[string]string{
			"forged": "AAAA", "cut": token[:len(token)-1], "text": "'; DROP TABLE agent; --", "of another list": foreign,
		} {
			_, err := list("acme", bad)
			requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
			require.Equal(t, "pageToken", rpcerr.Violations(status.Convert(err))[0].Field, name)
		}
		_, err = list("other", token)
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
		f.clock.Advance(pagetoken.Lifetime)
		_, err = list("acme", token)
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
		require.Contains(t, rpcerr.Violations(status.Convert(err))[0].Reason, "expired")
	})
}

func TestUpdateMask(t *testing.T) {
	const name, description = "display_name", "description"
	for _, c := range []struct {
		title string
		mask  []string
		agent *agentv1.Agent
		want  func(a *agentv1.Agent)
		bad   []string
	}{
		{title: "named only", mask: []string{name}, agent: &agentv1.Agent{DisplayName: "N", Description: "D"},
			want: func(a *agentv1.Agent) { a.DisplayName = "N" }},
		{title: "no mask takes what is set", agent: &agentv1.Agent{Description: "D", AssistantId: 7},
			want: func(a *agentv1.Agent) { a.Description = "D" }},
		{title: "empty goes back to the definition's", mask: []string{name, description}, agent: &agentv1.Agent{},
			want: func(a *agentv1.Agent) { a.DisplayName, a.Description = "Eco", "Repete" }},
		{title: "nothing", agent: &agentv1.Agent{}, want: func(*agentv1.Agent) {}},
		{title: "fields of the service are passed over", mask: []string{"id", "assistant_id", "version", "create_time", "update_time", name},
			agent: &agentv1.Agent{DisplayName: "N", Id: "other", Version: 7}, want: func(a *agentv1.Agent) { a.DisplayName = "N" }},
		{title: "no field at all", mask: []string{"secret", "definition.nodes"}, agent: &agentv1.Agent{}, bad: []string{"updateMask", "updateMask"}},
		{title: "all without a definition", mask: []string{"*"}, agent: &agentv1.Agent{DisplayName: "N"}, bad: []string{"agent.definition"}},
	} {
		t.Run(c.title, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				want := f.create(t, "acme", &agentv1.Agent{DisplayName: "Loja", Description: "Atende"})
				f.clock.Advance(time.Second)
				response, err := f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{
					Instance: "acme", Id: want.GetId(), Agent: c.agent, UpdateMask: &fieldmaskpb.FieldMask{Paths: c.mask},
				})
				if c.bad != nil {
					requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
					var fields []string
					for _, v := range rpcerr.Violations(status.Convert(err)) {
						fields = append(fields, v.Field)
					}
					require.Equal(t, c.bad, fields)
					requireEqual(t, want, f.get(t, "acme", want.GetId()))
					return
				}
				require.NoError(t, err)
				c.want(want)
				want.UpdateTime = response.GetAgent().GetUpdateTime()
				requireEqual(t, want, response.GetAgent())
				requireEqual(t, want, f.get(t, "acme", want.GetId()))
			})
		})
	}
}

func TestPublishing(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		created := f.create(t, "acme", &agentv1.Agent{})
		f.clock.Advance(time.Second)
		response, err := f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{
			Instance: "acme", Id: created.GetId(), Agent: &agentv1.Agent{Definition: object(t)},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"definition"}},
		})
		require.NoError(t, err)
		updated := response.GetAgent()
		require.EqualValues(t, 2, updated.GetVersion())
		require.Equal(t, "Eco <JSON> & “açaí”", updated.GetDisplayName(), "a name of its own it never had")
		require.Empty(t, updated.GetDescription())
		requireEqual(t, object(t), updated.GetDefinition())
		require.Equal(t, time.Second, updated.GetUpdateTime().AsTime().Sub(updated.GetCreateTime().AsTime()))
		requireEqual(t, updated, f.get(t, "acme", created.GetId()))
	})
}

func TestDelete(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		created := f.create(t, "acme", &agentv1.Agent{})
		_, err := f.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Instance: "acme", Id: created.GetId()})
		require.NoError(t, err)
		requireNotFoundAnywhere(t, f, "acme", created.GetId())
		list, err := f.ListAgents(t.Context(), &agentv1.ListAgentsRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Empty(t, list.GetAgents())
	})
}

func TestOnesOwnAgentsOnly(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		created := f.create(t, "acme", &agentv1.Agent{})
		for _, c := range []struct{ instance, agentID string }{
			{"other", created.GetId()}, {"acme", strings.ToUpper(created.GetId())}, {"acme", "x"}, {"acme", "\x00"},
			{"acme", strings.Repeat("0", 24)}, {"acme\x00", created.GetId()}, {"nobody", created.GetId()},
		} {
			requireNotFoundAnywhere(t, f, c.instance, c.agentID)
		}
		requireEqual(t, created, f.get(t, "acme", created.GetId()))
	})
}

func requireNotFoundAnywhere(t *testing.T, f *fixture, instance, agentID string) {
	t.Helper()
	_, err := f.GetAgent(t.Context(), &agentv1.GetAgentRequest{Instance: instance, Id: agentID})
	requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
	require.Equal(t, map[string]string{"id": agentID}, rpcerr.Metadata(status.Convert(err)))
	for _, a := range []*agentv1.Agent{{DisplayName: "x"}, {}, {Definition: yaml(eco)}} {
		_, err = f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{Instance: instance, Id: agentID, Agent: a})
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
	}
	_, err = f.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Instance: instance, Id: agentID})
	requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
	_, err = f.turns.LookupAgent(t.Context(), &agentv1.LookupAgentRequest{Instance: instance, AgentId: agentID})
	requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
}
