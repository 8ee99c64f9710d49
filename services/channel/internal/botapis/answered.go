package botapis

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// recalled reads the first answer to a call that is repeated into response, and
// reports whether there is one. Without a key there is none.
func (s *Server) recalled(ctx context.Context, instance string, key *store.Key, response proto.Message) (bool, error) {
	if key == nil {
		return false, nil
	}
	sealed, err := s.Store.Recall(ctx, instance, key, s.Clock.Now())
	if err != nil {
		return false, rpcerr.FromStore(err)
	}
	if sealed == nil {
		return false, nil
	}
	return true, s.replay(instance, key, sealed, response)
}

// replay reads a first answer into response.
func (s *Server) replay(instance string, key *store.Key, sealed []byte, response proto.Message) error {
	proto.Reset(response)
	if err := s.Answers.Open(instance, key, sealed, response); err != nil {
		return rpcerr.Internal(err)
	}
	return nil
}
