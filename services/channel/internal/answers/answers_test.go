package answers

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keeper(t *testing.T) Keeper {
	t.Helper()
	box, err := secretbox.New(strings.Repeat("k", 32))
	require.NoError(t, err)
	return Keeper{Box: box, Secret: []byte("s")}
}

func keyed(key string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs("idempotency-key", key))
}

func TestAnAnswerIsSealedToItsCall(t *testing.T) {
	k := keeper(t)
	request := &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: "c"}
	key, err := k.Key(keyed("once"), "Rotate", request)
	require.NoError(t, err)
	answer := &channelv1.RotateChannelSecretResponse{Channel: &channelv1.Channel{SigningSecret: "whsec_secret"}}
	require.NoError(t, k.Seal("acme", key, answer))
	require.NotContains(t, string(key.Response), "whsec_secret")

	got := &channelv1.RotateChannelSecretResponse{}
	require.NoError(t, k.Open("acme", key, key.Response, got))
	require.True(t, proto.Equal(answer, got))

	require.Error(t, k.Open("other", key, key.Response, got))
	for _, change := range []func(scope, name *string){
		func(scope, _ *string) { *scope = "Create" },
		func(_, name *string) { *name = "twice" },
	} {
		other := *key
		change(&other.Scope, &other.Key)
		require.Error(t, k.Open("acme", &other, key.Response, got))
	}
}

func TestAKeyTellsRequestsApart(t *testing.T) {
	k := keeper(t)
	one, err := k.Key(keyed("once"), "Rotate", &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: "c"})
	require.NoError(t, err)
	same, err := k.Key(keyed("once"), "Rotate", &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: "c"})
	require.NoError(t, err)
	other, err := k.Key(keyed("once"), "Rotate", &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: "d"})
	require.NoError(t, err)
	require.Equal(t, one, same)
	require.NotEqual(t, one.Fingerprint, other.Fingerprint)
}

func TestNoKeyKeepsNothing(t *testing.T) {
	k := keeper(t)
	key, err := k.Key(context.Background(), "Rotate", &channelv1.RotateChannelSecretRequest{})
	require.NoError(t, err)
	require.Nil(t, key)
	require.NoError(t, k.Seal("acme", nil, &channelv1.RotateChannelSecretResponse{}))
	_, err = k.Key(keyed(""), "Rotate", &channelv1.RotateChannelSecretRequest{})
	require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err))
}
