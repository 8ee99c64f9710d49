package botapis

import (
	"context"
	"fmt"
	"time"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/agents"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/inbound"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// CreateBotApi implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) CreateBotApi(ctx context.Context, r *channelv1.CreateBotApiRequest) (*channelv1.CreateBotApiResponse, error) {
	key, err := s.Answers.Key(ctx, "CreateBotApi", r)
	if err != nil {
		return nil, err
	}
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &channelv1.CreateBotApiResponse{}
	// What was created before is answered again, whatever became of the agent since.
	if known, err := s.recalled(ctx, r.GetInstance(), key, response); known || err != nil {
		return response, err
	}
	asked := r.GetBotApi()
	if (asked.GetCallbackUrl() == "") != (asked.GetCallbackToken() == "") {
		return nil, errIncomplete
	}
	if err := s.checkURL(asked.GetCallbackUrl()); err != nil {
		return nil, err
	}
	if err := agents.Check(ctx, s.Agents, r.GetInstance(), asked.GetAgentId()); err != nil {
		return nil, err
	}
	row, shown, err := s.prepare(r)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	response.BotApi = shown
	if err := s.Answers.Seal(r.GetInstance(), key, response); err != nil {
		return nil, rpcerr.Internal(err)
	}
	sealed, err := s.Store.CreateBotAPI(ctx, row, key)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if sealed != nil {
		return response, s.replay(r.GetInstance(), key, sealed, response)
	}
	return response, nil
}

// prepare makes the row of a new integration, and what is shown of it this once.
func (s *Server) prepare(r *channelv1.CreateBotApiRequest) (*store.BotAPI, *channelv1.BotApi, error) {
	// As precise as the store, so that the answer to create is that to get.
	now, asked := s.Clock.Now().Truncate(time.Microsecond), r.GetBotApi()
	row := &store.BotAPI{
		Instance:       r.GetInstance(),
		ID:             s.IDs.New(),
		DisplayName:    asked.GetDisplayName(),
		AgentID:        asked.GetAgentId(),
		Squad:          squad(asked.GetSquad()),
		Version:        version(asked.GetVersion()),
		CallbackURL:    asked.GetCallbackUrl(),
		IncludeContext: asked.GetIncludeContext(),
		State:          store.Active,
		CreateTime:     now,
		UpdateTime:     now,
	}
	token := inbound.NewToken()
	row.TokenHash = s.Tokens.Hash(row.Instance, row.ID, token)
	ring := signing.New(nil)
	var err error
	if row.Secret, err = ring.Seal(s.Box, directory.SecretContext(row.Instance, row.ID)); err != nil {
		return nil, nil, err
	}
	if back := asked.GetCallbackToken(); back != "" {
		if row.CallbackToken, err = s.Box.Seal([]byte(back), directory.CallbackTokenContext(row.Instance, row.ID)); err != nil {
			return nil, nil, fmt.Errorf("seal callback token: %w", err)
		}
	}
	shown := resource(row)
	shown.Token, shown.SigningSecret = token, ring.Current().Reveal()
	return row, shown, nil
}
