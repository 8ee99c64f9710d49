package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Versions gives a page of an agent's versions, newest first, and the token of the next; empty at the end. Errors: AGENT_NOT_FOUND;
// REQUEST_INVALID for a token that is not this list's.
func (r *Registry) Versions(ctx context.Context, request *agentv1.ListAgentVersionsRequest) ([]*agentv1.AgentVersion, string, error) {
	instance, agentID := request.GetInstance(), request.GetId()
	if _, err := r.find(ctx, instance, agentID); err != nil {
		return nil, "", r.fail(err, agentID)
	}
	scope := agentv1.AgentService_ListAgentVersions_FullMethodName + "/" + agentID
	before := int64(math.MaxInt64)
	if token := request.GetPageToken(); token != "" {
		payload, err := r.tokens.Decode(token, instance, scope)
		if err != nil || len(payload) != 8 {
			return nil, "", rpcerr.Invalid(pagetoken.Violation("pageToken", err))
		}
		before = int64(binary.BigEndian.Uint64(payload))
	}
	size := pagetoken.Size(request.GetPageSize())
	// One more than asked for tells whether there is a next page.
	found, err := r.store.ListVersions(ctx, instance, agentID, before, size+1)
	if err != nil {
		return nil, "", rpcerr.FromStore(err)
	}
	next := ""
	if len(found) > size {
		found = found[:size]
		next = r.tokens.Encode(instance, scope, binary.BigEndian.AppendUint64(nil, uint64(found[size-1].Number)))
	}
	versions := make([]*agentv1.AgentVersion, len(found))
	for i, v := range found {
		versions[i] = &agentv1.AgentVersion{Version: v.Number, CreateTime: timestamppb.New(v.CreateTime)}
	}
	return versions, next, nil
}

// Version gives one version with its definition. Errors: AGENT_NOT_FOUND, AGENT_VERSION_NOT_FOUND.
func (r *Registry) Version(ctx context.Context, instance, agentID string, number int32) (*agentv1.AgentVersion, error) {
	if _, err := r.find(ctx, instance, agentID); err != nil {
		return nil, r.fail(err, agentID)
	}
	found, created, err := r.store.Version(ctx, instance, agentID, number)
	if err != nil {
		return nil, failVersion(err, number)
	}
	v := &agentv1.AgentVersion{Version: number, CreateTime: timestamppb.New(created)}
	if v.Definition, err = sourceValue(found.Format, found.Source); err != nil {
		return nil, rpcerr.Internal(err)
	}
	return v, nil
}

// Rollback publishes the definition of a version again, unless the newest has the same, and gives the agent as stored. Errors:
// AGENT_NOT_FOUND, AGENT_VERSION_NOT_FOUND, AGENT_DEFINITION_INVALID for a version that does not run here.
func (r *Registry) Rollback(ctx context.Context, instance, agentID string, number int32) (*agentv1.Agent, error) {
	a, err := r.find(ctx, instance, agentID)
	if err != nil {
		return nil, r.fail(err, agentID)
	}
	wanted, _, err := r.store.Version(ctx, instance, agentID, number)
	if err != nil {
		return nil, failVersion(err, number)
	}
	newest, _, err := r.store.Version(ctx, instance, agentID, a.Version)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if newest.Format == wanted.Format && bytes.Equal(newest.Source, wanted.Source) {
		return r.withDefinition(ctx, a)
	}
	def := &agentv1.AgentDefinition{}
	if err := proto.Unmarshal(wanted.Definition, def); err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("decode definition: %w", err))
	}
	// It ran when it was published. Prosa may have become stricter since.
	if _, err := flow.Compile(def); err != nil {
		return nil, invalid("version", definition.Faults{{Reason: err.Error()}})
	}
	wanted.DisplayName, wanted.Description = def.GetDisplayName(), def.GetDescription()
	updated, err := r.store.UpdateAgent(ctx, instance, agentID, store.AgentChange{Publish: &wanted}, r.clock.Now())
	r.changed(instance, agentID)
	if err != nil {
		return nil, r.fail(err, agentID)
	}
	return r.withDefinition(ctx, updated)
}

// Definition gives the definition of a version, the newest for 0, with the agent and the number of the version. Errors:
// AGENT_NOT_FOUND, AGENT_VERSION_NOT_FOUND.
func (r *Registry) Definition(ctx context.Context, instance, agentID string, number int32) (*agentv1.Agent, *agentv1.AgentDefinition, error) {
	a, err := r.find(ctx, instance, agentID)
	if err != nil {
		return nil, nil, r.fail(err, agentID)
	}
	agent := toProto(a)
	if number != 0 {
		agent.Version = number
	}
	found, _, err := r.store.Version(ctx, instance, agentID, agent.GetVersion())
	if err != nil {
		return nil, nil, failVersion(err, number)
	}
	def := &agentv1.AgentDefinition{}
	if err := proto.Unmarshal(found.Definition, def); err != nil {
		return nil, nil, rpcerr.Internal(fmt.Errorf("decode definition: %w", err))
	}
	return agent, def, nil
}

// Parse reads a definition that was sent in a field. Errors: AGENT_DEFINITION_INVALID with every fault.
func Parse(field string, sent *structpb.Value) (*agentv1.AgentDefinition, error) {
	def, err := definition.FromValue(sent)
	if err != nil {
		return nil, invalid(field, err)
	}
	return def, nil
}

func failVersion(err error, number int32) error {
	if errors.Is(err, store.ErrNotFound) {
		return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_VERSION_NOT_FOUND, "no such version", "version",
			strconv.Itoa(int(number)))
	}
	return rpcerr.FromStore(err)
}
