package channels

import (
	"context"
	"time"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/agents"
	"github.com/prosa-chat/prosa/services/channel/internal/answers"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// CreateChannel implements the ChannelService.
func (s *Server) CreateChannel(ctx context.Context, r *channelv1.CreateChannelRequest) (*channelv1.CreateChannelResponse, error) {
	key, err := s.Answers.Key(ctx, "CreateChannel", r)
	if err != nil {
		return nil, err
	}
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if key != nil {
		// What was created before is answered again, whatever became of the agent since.
		sealed, err := s.Store.Recall(ctx, r.GetInstance(), key, s.Clock.Now())
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		if sealed != nil {
			return createdBefore(s.Answers, r.GetInstance(), key, sealed)
		}
	}
	if err := s.checkURL(r.GetChannel().GetWebhookUrl()); err != nil {
		return nil, err
	}
	if err := agents.Check(ctx, s.Agents, r.GetInstance(), r.GetChannel().GetAgentId()); err != nil {
		return nil, err
	}
	row, response, err := s.prepare(r)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	if err := s.Answers.Seal(r.GetInstance(), key, response); err != nil {
		return nil, rpcerr.Internal(err)
	}
	sealed, err := s.Store.CreateChannel(ctx, row, key)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if sealed != nil {
		return createdBefore(s.Answers, r.GetInstance(), key, sealed)
	}
	return response, nil
}

// prepare makes the row and the answer of a new channel.
func (s *Server) prepare(r *channelv1.CreateChannelRequest) (*store.Channel, *channelv1.CreateChannelResponse, error) {
	// As precise as the store, so that the answer to create is that to get.
	now, asked := s.Clock.Now().Truncate(time.Microsecond), r.GetChannel()
	row := &store.Channel{
		Instance:        r.GetInstance(),
		ID:              s.IDs.New(),
		DisplayName:     asked.GetDisplayName(),
		AgentID:         asked.GetAgentId(),
		WebhookURL:      asked.GetWebhookUrl(),
		Test:            asked.GetTest(),
		Acknowledgement: acknowledgement(asked.GetAcknowledgement()),
		Timeout:         timeout(asked.GetTimeout()),
		FailurePolicy:   failurePolicy(asked.GetFailurePolicy()),
		SkipAfter:       skipAfter(asked.GetSkipAfter()),
		State:           store.Active,
		CreateTime:      now,
		UpdateTime:      now,
	}
	if token := asked.GetInboundToken(); token != "" {
		row.InboundTokenHash = s.Tokens.Hash(row.Instance, row.ID, token)
	}
	ring := signing.New(nil)
	var err error
	if row.Secret, err = ring.Seal(s.Box, directory.SecretContext(row.Instance, row.ID)); err != nil {
		return nil, nil, err
	}
	shown := resource(row)
	shown.SigningSecret = ring.Current().Reveal()
	return row, &channelv1.CreateChannelResponse{Channel: shown}, nil
}

// createdBefore is the first answer to a call that is repeated.
func createdBefore(answers answers.Keeper, instance string, key *store.Key, sealed []byte) (*channelv1.CreateChannelResponse, error) {
	response := &channelv1.CreateChannelResponse{}
	if err := answers.Open(instance, key, sealed, response); err != nil {
		return nil, rpcerr.Internal(err)
	}
	return response, nil
}
