package channels

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// CreateChannel implements the ChannelService.
func (s *Server) CreateChannel(ctx context.Context, r *channelv1.CreateChannelRequest) (*channelv1.CreateChannelResponse, error) {
	key, err := s.createKey(ctx, r)
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
			return s.replay(r.GetInstance(), key, sealed)
		}
	}
	if err := s.checkURL(r.GetChannel().GetWebhookUrl()); err != nil {
		return nil, err
	}
	if err := s.checkAgent(ctx, r.GetInstance(), r.GetChannel().GetAgentId()); err != nil {
		return nil, err
	}
	row, response, err := s.prepare(r)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	if key != nil {
		if key.Response, err = s.seal(r.GetInstance(), key, response); err != nil {
			return nil, rpcerr.Internal(err)
		}
	}
	sealed, err := s.Store.CreateChannel(ctx, row, key)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if sealed != nil {
		return s.replay(r.GetInstance(), key, sealed)
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
		State:           store.Active,
		CreateTime:      now,
		UpdateTime:      now,
	}
	if token := asked.GetInboundToken(); token != "" {
		row.InboundTokenHash = s.Tokens.Hash(row.Instance, row.ID, token)
	}
	secret := webhook.NewSecret(nil)
	sealed, err := s.Box.Seal([]byte(secret.Reveal()), directory.SecretContext(row.Instance, row.ID))
	if err != nil {
		return nil, nil, fmt.Errorf("seal signing secret: %w", err)
	}
	row.Secret = sealed
	shown := resource(row)
	shown.SigningSecret = secret.Reveal()
	return row, &channelv1.CreateChannelResponse{Channel: shown}, nil
}

// createKey is the record of the call's idempotency key; nil if it has none.
func (s *Server) createKey(ctx context.Context, r *channelv1.CreateChannelRequest) (*store.Key, error) {
	key, ok, err := idempotency.FromContext(ctx)
	if err != nil || !ok {
		return nil, err
	}
	request, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	return &store.Key{Scope: "CreateChannel", Key: key, Fingerprint: idempotency.Fingerprint(s.Secret, string(request))}, nil
}

// seal makes what is stored under the key: the answer holds the signing secret.
func (s *Server) seal(instance string, key *store.Key, response *channelv1.CreateChannelResponse) ([]byte, error) {
	plain, err := proto.Marshal(response)
	if err != nil {
		return nil, fmt.Errorf("marshal answer: %w", err)
	}
	sealed, err := s.Box.Seal(plain, answerContext(instance, key))
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	return sealed, nil
}

func (s *Server) replay(instance string, key *store.Key, sealed []byte) (*channelv1.CreateChannelResponse, error) {
	plain, err := s.Box.Open(sealed, answerContext(instance, key))
	if err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("open stored answer: %w", err))
	}
	response := &channelv1.CreateChannelResponse{}
	if err := proto.Unmarshal(plain, response); err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("read stored answer: %w", err))
	}
	return response, nil
}

func answerContext(instance string, key *store.Key) string {
	return "channel/create/" + instance + "/" + key.Key
}
