// Package registry manages agents and their versions.
package registry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// defaultPageSize is how many agents a page has when the caller does not say.
	defaultPageSize = 50
	// scopeCreate and scopeList name the methods in idempotency records and page tokens.
	scopeCreate = agentv1.AgentService_CreateAgent_FullMethodName
	scopeList   = agentv1.AgentService_ListAgents_FullMethodName
)

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
}

// Registry manages agents. It is safe for concurrent use. Its errors may be sent as they are.
type Registry struct {
	store  Store
	clock  clock.Clock
	ids    IDs
	tokens *pagetoken.Codec
}

// New returns a registry.
func New(s Store, c clock.Clock, ids IDs, tokens *pagetoken.Codec) *Registry {
	return &Registry{store: s, clock: c, ids: ids, tokens: tokens}
}

// Create makes an agent with its first version. The key makes a repetition known: with the same request it gets the first answer
// again; empty is none. Errors: AGENT_DEFINITION_INVALID, REQUEST_INVALID, IDEMPOTENCY_KEY_REUSED.
func (r *Registry) Create(ctx context.Context, request *agentv1.CreateAgentRequest, key string) (*agentv1.Agent, error) {
	wanted := request.GetAgent()
	version, err := publish(wanted.GetDefinition())
	if err != nil {
		return nil, err
	}
	fingerprint, err := fingerprint(request)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	// As exact as it is stored, so that the first answer is what later ones say.
	now := r.clock.Now().Truncate(time.Microsecond)
	var response []byte
	err = r.store.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		create := func() ([]byte, error) {
			created, err := r.store.CreateAgent(ctx, tx, store.Agent{
				Instance: request.GetInstance(), ID: r.ids.New(), DisplayName: wanted.GetDisplayName(),
				Description: wanted.GetDescription(), CreateTime: now,
			}, version)
			if err != nil {
				return nil, err
			}
			return encode(created, wanted)
		}
		var err error
		if key == "" {
			response, err = create()
			return err
		}
		response, _, err = idempotency.Run(ctx, tx, r.clock, idempotency.Key{
			Instance: request.GetInstance(), Scope: scopeCreate, Key: key, Fingerprint: fingerprint,
		}, create)
		return err
	})
	if errors.Is(err, idempotency.ErrReused) {
		return nil, rpcerr.New(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
			"the idempotency key was used with another request")
	}
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

func fingerprint(request proto.Message) ([sha256.Size]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode request: %w", err)
	}
	return sha256.Sum256(raw), nil
}

// List gives a page of the agents of an instance, oldest first, and the token of the next; empty at the end. Errors:
// REQUEST_INVALID for a token that is not this list's.
func (r *Registry) List(ctx context.Context, request *agentv1.ListAgentsRequest) ([]*agentv1.Agent, string, error) {
	size := int(request.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	instance := request.GetInstance()
	var after int64
	if token := request.GetPageToken(); token != "" {
		payload, err := r.tokens.Decode(token, instance, scopeList)
		if err != nil || len(payload) != 8 {
			reason := "is not a token of this list"
			if errors.Is(err, pagetoken.ErrExpired) {
				reason = "has expired"
			}
			return nil, "", rpcerr.Invalid(rpcerr.Violation{Field: "pageToken", Reason: reason})
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
	paths, err := maskedFields(request)
	if err != nil {
		return nil, err
	}
	instance, agentID, wanted := request.GetInstance(), request.GetId(), request.GetAgent()
	var change store.AgentChange
	for path := range paths {
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
	if err := r.store.DeleteAgent(ctx, instance, agentID, r.clock.Now()); err != nil {
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
