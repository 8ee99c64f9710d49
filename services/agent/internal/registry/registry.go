// Package registry manages agents and their versions.
package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/updatemask"
)

// scopeList names the method in page tokens.
const scopeList = agentv1.AgentService_ListAgents_FullMethodName

// The fields of an agent that can be changed, as a mask names them.
const (
	fieldDisplayName = "display_name"
	fieldDescription = "description"
	fieldDefinition  = "definition"
)

// updateRules says what an update may name.
var updateRules = updatemask.Rules{
	Resource:   "agent",
	Changeable: []string{fieldDisplayName, fieldDescription, fieldDefinition},
	Output:     []string{"id", "assistant_id", "version", "create_time", "update_time"},
}

// IDs makes identifiers.
type IDs interface{ New() string }

// Store is the part of the store that managing agents needs.
type Store interface {
	Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error
	CreateAgent(ctx context.Context, tx sqldb.Tx, a store.Agent, v store.Version) (*store.Agent, error)
	ListAgents(ctx context.Context, instance string, after int64, limit int) ([]*store.Agent, error)
	Agent(ctx context.Context, instance, id string) (*store.Agent, error)
	Source(ctx context.Context, instance, agentID string, version int32) (store.Format, []byte, error)
	UpdateAgent(ctx context.Context, instance, id string, c store.AgentChange, now time.Time) (*store.Agent, error)
	DeleteAgent(ctx context.Context, instance, id string, now time.Time) error
	ListVersions(ctx context.Context, instance, agentID string, before int64, limit int) ([]store.Published, error)
	Version(ctx context.Context, instance, agentID string, number int32) (store.Version, time.Time, error)
}

// Registry manages agents. It is safe for concurrent use. Its errors may be sent as they are.
type Registry struct {
	store   Store
	clock   clock.Clock
	ids     IDs
	tokens  *pagetoken.Codec
	changed func(instance, agentID string)
}

// New returns a registry. It calls changed after each change and deletion of an agent, also when it failed: it may have been
// stored nonetheless.
func New(s Store, c clock.Clock, ids IDs, tokens *pagetoken.Codec, changed func(instance, agentID string)) *Registry {
	return &Registry{store: s, clock: c, ids: ids, tokens: tokens, changed: changed}
}

// Create makes an agent with its first version. The key makes a repetition known: with the same request it gets the first answer
// again; nil is none. Errors: AGENT_DEFINITION_INVALID, REQUEST_INVALID, IDEMPOTENCY_KEY_REUSED.
func (r *Registry) Create(ctx context.Context, request *agentv1.CreateAgentRequest, key *idempotency.Key) (*agentv1.Agent, error) {
	wanted := request.GetAgent()
	version, err := publish(wanted.GetDefinition())
	if err != nil {
		return nil, err
	}
	// As exact as it is stored, so that the first answer is what later ones say.
	now := r.clock.Now().Truncate(time.Microsecond)
	var response []byte
	err = r.store.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		response, _, err = idempotency.Run(ctx, tx, r.clock, key, func() ([]byte, error) {
			created, err := r.store.CreateAgent(ctx, tx, store.Agent{
				Instance: request.GetInstance(), ID: r.ids.New(), DisplayName: wanted.GetDisplayName(),
				Description: wanted.GetDescription(), CreateTime: now,
			}, version)
			if err != nil {
				return nil, err
			}
			return encode(created, wanted)
		})
		return err
	})
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	agent := &agentv1.Agent{}
	if err := proto.Unmarshal(response, agent); err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("decode created agent: %w", err))
	}
	return agent, nil
}

func encode(created *store.Agent, wanted *agentv1.Agent) ([]byte, error) {
	agent := toProto(created)
	agent.Definition = wanted.GetDefinition()
	raw, err := proto.Marshal(agent)
	if err != nil {
		return nil, fmt.Errorf("encode created agent: %w", err)
	}
	return raw, nil
}

// List gives a page of the agents of an instance, oldest first, and the token of the next; empty at the end. Errors:
// REQUEST_INVALID for a token that is not this list's.
func (r *Registry) List(ctx context.Context, request *agentv1.ListAgentsRequest) ([]*agentv1.Agent, string, error) {
	size := pagetoken.Size(request.GetPageSize())
	instance := request.GetInstance()
	var after int64
	if token := request.GetPageToken(); token != "" {
		payload, err := r.tokens.Decode(token, instance, scopeList)
		if err != nil || len(payload) != 8 {
			return nil, "", rpcerr.Invalid(pagetoken.Violation("pageToken", err))
		}
		after = int64(binary.BigEndian.Uint64(payload))
	}
	// One more than asked for tells whether there is a next page.
	found, err := r.store.ListAgents(ctx, instance, after, size+1)
	if err != nil {
		return nil, "", rpcerr.FromStore(err)
	}
	next := ""
	if len(found) > size {
		found = found[:size]
		next = r.tokens.Encode(instance, scopeList, binary.BigEndian.AppendUint64(nil, uint64(found[size-1].AssistantID)))
	}
	agents := make([]*agentv1.Agent, len(found))
	for i, a := range found {
		agents[i] = toProto(a)
	}
	return agents, next, nil
}

// Get gives an agent with its newest definition. Errors: AGENT_NOT_FOUND.
func (r *Registry) Get(ctx context.Context, instance, agentID string) (*agentv1.Agent, error) {
	a, err := r.find(ctx, instance, agentID)
	if err != nil {
		return nil, r.fail(err, agentID)
	}
	return r.withDefinition(ctx, a)
}

// Lookup gives an agent's number. Errors: AGENT_NOT_FOUND.
func (r *Registry) Lookup(ctx context.Context, instance, agentID string) (int64, error) {
	a, err := r.find(ctx, instance, agentID)
	if err != nil {
		return 0, r.fail(err, agentID)
	}
	return a.AssistantID, nil
}

// Update changes what the mask names and gives the agent as stored. Errors: AGENT_NOT_FOUND, AGENT_DEFINITION_INVALID,
// REQUEST_INVALID with every path of the mask that cannot be changed.
func (r *Registry) Update(ctx context.Context, request *agentv1.UpdateAgentRequest) (*agentv1.Agent, error) {
	paths, violations := updateRules.Paths(request.GetAgent(), request.GetUpdateMask())
	if len(violations) > 0 {
		return nil, rpcerr.Invalid(violations...)
	}
	instance, agentID, wanted := request.GetInstance(), request.GetId(), request.GetAgent()
	var change store.AgentChange
	for _, path := range paths {
		switch path {
		case fieldDisplayName:
			change.DisplayName = &wanted.DisplayName
		case fieldDescription:
			change.Description = &wanted.Description
		case fieldDefinition:
			version, err := publish(wanted.GetDefinition())
			if err != nil {
				return nil, err
			}
			change.Publish = &version
		}
	}
	if change == (store.AgentChange{}) {
		return r.Get(ctx, instance, agentID)
	}
	if !plausible(instance, agentID) {
		return nil, agentNotFound(agentID)
	}
	updated, err := r.store.UpdateAgent(ctx, instance, agentID, change, r.clock.Now())
	r.changed(instance, agentID)
	if err != nil {
		return nil, r.fail(err, agentID)
	}
	if change.Publish != nil {
		agent := toProto(updated)
		agent.Definition = wanted.GetDefinition()
		return agent, nil
	}
	return r.withDefinition(ctx, updated)
}

// Delete ends an agent. Errors: AGENT_NOT_FOUND.
func (r *Registry) Delete(ctx context.Context, instance, agentID string) error {
	if !plausible(instance, agentID) {
		return agentNotFound(agentID)
	}
	err := r.store.DeleteAgent(ctx, instance, agentID, r.clock.Now())
	r.changed(instance, agentID)
	if err != nil {
		return r.fail(err, agentID)
	}
	return nil
}

func (r *Registry) find(ctx context.Context, instance, agentID string) (*store.Agent, error) {
	if !plausible(instance, agentID) {
		return nil, store.ErrNotFound
	}
	return r.store.Agent(ctx, instance, agentID)
}

// plausible keeps from the store what can be no agent of any instance, and what one engine would not take as text.
func plausible(instance, agentID string) bool {
	return id.Valid(agentID) && strings.IndexByte(instance, 0) < 0
}

func (r *Registry) withDefinition(ctx context.Context, a *store.Agent) (*agentv1.Agent, error) {
	format, source, err := r.store.Source(ctx, a.Instance, a.ID, a.Version)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	agent := toProto(a)
	if agent.Definition, err = sourceValue(format, source); err != nil {
		return nil, rpcerr.Internal(err)
	}
	return agent, nil
}

func (r *Registry) fail(err error, agentID string) error {
	if errors.Is(err, store.ErrNotFound) {
		return agentNotFound(agentID)
	}
	return rpcerr.FromStore(err)
}

func agentNotFound(agentID string) *rpcerr.Error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent", "id", agentID)
}

func toProto(a *store.Agent) *agentv1.Agent {
	return &agentv1.Agent{
		Id: a.ID, AssistantId: a.AssistantID, DisplayName: a.Name(), Description: a.About(), Version: a.Version,
		CreateTime: timestamppb.New(a.CreateTime), UpdateTime: timestamppb.New(a.UpdateTime),
	}
}
