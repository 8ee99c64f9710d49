package channels

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/answers"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxRotations is how often a rotation begins anew because another one came
// between.
const maxRotations = 2 * signing.MaxSecrets

// RotateChannelSecret implements the ChannelService.
func (s *Server) RotateChannelSecret(ctx context.Context, r *channelv1.RotateChannelSecretRequest) (*channelv1.RotateChannelSecretResponse, error) {
	key, err := s.Answers.Key(ctx, "RotateChannelSecret", r)
	if err != nil {
		return nil, err
	}
	for range maxRotations {
		row, err := s.Store.Channel(ctx, r.GetInstance(), r.GetId())
		if err != nil {
			return nil, outward(err, r.GetId())
		}
		if key != nil {
			// A repetition is answered even if no further secret would be taken.
			sealed, err := s.Store.Recall(ctx, r.GetInstance(), key, s.Clock.Now())
			if err != nil {
				return nil, rpcerr.FromStore(err)
			}
			if sealed != nil {
				return rotatedBefore(s.Answers, r.GetInstance(), key, sealed)
			}
		}
		response, err := s.rotate(ctx, row, key)
		if !errors.Is(err, store.ErrSecretChanged) {
			return response, err
		}
	}
	return nil, rpcerr.Unavailable(store.ErrSecretChanged)
}

// rotate replaces the secrets that row holds. The error is
// store.ErrSecretChanged if they are others by now.
func (s *Server) rotate(ctx context.Context, row *store.Channel, key *store.Key) (*channelv1.RotateChannelSecretResponse, error) {
	context := directory.SecretContext(row.Instance, row.ID)
	ring, err := signing.Open(s.Box, row.Secret, context)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	now := s.Clock.Now().Truncate(time.Microsecond) // as precise as the store
	if ring, err = ring.Rotate(now, nil); err != nil {
		return nil, TooOften(err)
	}
	sealed, err := ring.Seal(s.Box, context)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	changed := *row
	changed.UpdateTime = now
	response := &channelv1.RotateChannelSecretResponse{Channel: resource(&changed)}
	response.Channel.SigningSecret = ring.Current().Reveal()
	if err := s.Answers.Seal(row.Instance, key, response); err != nil {
		return nil, rpcerr.Internal(err)
	}
	stored, replay, err := s.Store.ReplaceSecret(ctx, row, sealed, key, now)
	s.Directory.Forget(row.ID)
	switch {
	case errors.Is(err, store.ErrSecretChanged):
		return nil, store.ErrSecretChanged
	case err != nil:
		return nil, rpcerr.FromStore(err)
	case replay != nil:
		return rotatedBefore(s.Answers, row.Instance, key, replay)
	}
	secret := response.Channel.SigningSecret
	response.Channel = resource(stored)
	response.Channel.SigningSecret = secret
	return response, nil
}

// TooOften is the caller's error for a signing.TooManyError.
func TooOften(err error) error {
	var tooMany *signing.TooManyError
	if !errors.As(err, &tooMany) {
		return rpcerr.Internal(err)
	}
	until := tooMany.Until.UTC().Format(time.RFC3339)
	return rpcerr.New(codes.FailedPrecondition, channelv1.ErrorReason_ERROR_REASON_SECRET_ROTATED_TOO_OFTEN,
		"too many signing secrets are still valid; the next can be made at "+until, "until", until)
}

// rotatedBefore is the first answer to a call that is repeated.
func rotatedBefore(answers answers.Keeper, instance string, key *store.Key, sealed []byte) (*channelv1.RotateChannelSecretResponse, error) {
	response := &channelv1.RotateChannelSecretResponse{}
	if err := answers.Open(instance, key, sealed, response); err != nil {
		return nil, rpcerr.Internal(err)
	}
	return response, nil
}
