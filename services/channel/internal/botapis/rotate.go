package botapis

import (
	"context"
	"errors"
	"time"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/channels"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/inbound"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxRotations is how often a rotation begins anew because another one came
// between.
const maxRotations = 2 * signing.MaxSecrets

// RotateBotApiToken implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) RotateBotApiToken(ctx context.Context, r *channelv1.RotateBotApiTokenRequest) (*channelv1.RotateBotApiTokenResponse, error) {
	key, err := s.Answers.Key(ctx, "RotateBotApiToken", r)
	if err != nil {
		return nil, err
	}
	row, err := s.Store.BotAPI(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	row.UpdateTime = s.Clock.Now().Truncate(time.Microsecond) // as precise as the store
	token := inbound.NewToken()
	response := &channelv1.RotateBotApiTokenResponse{BotApi: resource(row)}
	response.BotApi.Token = token
	if err := s.Answers.Seal(r.GetInstance(), key, response); err != nil {
		return nil, rpcerr.Internal(err)
	}
	stored, replay, err := s.Store.ReplaceBotAPIToken(ctx, row.Instance, row.ID, s.Tokens.Hash(row.Instance, row.ID, token), key, row.UpdateTime)
	s.Directory.Forget(row.ID)
	switch {
	case err != nil:
		return nil, outward(err, r.GetId())
	case replay != nil:
		return response, s.replay(row.Instance, key, replay, response)
	}
	response.BotApi = resource(stored)
	response.BotApi.Token = token
	return response, nil
}

// RotateBotApiSecret implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) RotateBotApiSecret(ctx context.Context, r *channelv1.RotateBotApiSecretRequest) (*channelv1.RotateBotApiSecretResponse, error) {
	key, err := s.Answers.Key(ctx, "RotateBotApiSecret", r)
	if err != nil {
		return nil, err
	}
	for range maxRotations {
		row, err := s.Store.BotAPI(ctx, r.GetInstance(), r.GetId())
		if err != nil {
			return nil, outward(err, r.GetId())
		}
		response := &channelv1.RotateBotApiSecretResponse{}
		// A repetition is answered even if no further secret would be taken.
		if known, err := s.recalled(ctx, row.Instance, key, response); known || err != nil {
			return response, err
		}
		err = s.rotateSecret(ctx, row, key, response)
		if !errors.Is(err, store.ErrSecretChanged) {
			return response, err
		}
	}
	return nil, rpcerr.Unavailable(store.ErrSecretChanged)
}

// rotateSecret replaces the secrets that row holds and fills the response. The
// error is store.ErrSecretChanged if they are others by now.
func (s *Server) rotateSecret(ctx context.Context, row *store.BotAPI, key *store.Key, response *channelv1.RotateBotApiSecretResponse) error {
	context := directory.SecretContext(row.Instance, row.ID)
	ring, err := signing.Open(s.Box, row.Secret, context)
	if err != nil {
		return rpcerr.Internal(err)
	}
	now := s.Clock.Now().Truncate(time.Microsecond) // as precise as the store
	if ring, err = ring.Rotate(now, nil); err != nil {
		return channels.TooOften(err)
	}
	sealed, err := ring.Seal(s.Box, context)
	if err != nil {
		return rpcerr.Internal(err)
	}
	changed := *row
	changed.UpdateTime = now
	response.BotApi = resource(&changed)
	response.BotApi.SigningSecret = ring.Current().Reveal()
	if err := s.Answers.Seal(row.Instance, key, response); err != nil {
		return rpcerr.Internal(err)
	}
	stored, replay, err := s.Store.ReplaceBotAPISecret(ctx, row, sealed, key, now)
	s.Directory.Forget(row.ID)
	switch {
	case errors.Is(err, store.ErrSecretChanged):
		return store.ErrSecretChanged
	case err != nil:
		return rpcerr.FromStore(err)
	case replay != nil:
		return s.replay(row.Instance, key, replay, response)
	}
	response.BotApi = resource(stored)
	response.BotApi.SigningSecret = ring.Current().Reveal()
	return nil
}
