package conversation_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func requireReason(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	require.Equal(t, code, rpcerr.Code(err), "%v", err)
	require.Equal(t, reason, rpcerr.Reason(err), "%v", err)
}

func TestMetadataIsMerged(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		id := f.create(t, "acme", map[string]any{"a": 1.0, "b": map[string]any{"c": []any{nil, "x"}}})
		f.converse(t, "acme", "c1", said{user: "oi"})
		for _, conversation := range []string{id, "c1"} {
			require.NoError(t, f.Update(t.Context(), "acme", conversation, object(t, map[string]any{"b": nil, "d": true})))
			require.NoError(t, f.Update(t.Context(), "acme", conversation, object(t, map[string]any{"d": "2"})))
			require.NoError(t, f.Update(t.Context(), "acme", conversation, nil))
		}
		got, err := f.Get(t.Context(), "acme", id)
		require.NoError(t, err)
		require.Equal(t, map[string]any{"a": 1.0, "b": nil, "d": "2"}, got.GetMeta().AsMap())
		got, err = f.Get(t.Context(), "acme", "c1")
		require.NoError(t, err)
		require.Equal(t, map[string]any{"b": nil, "d": "2"}, got.GetMeta().AsMap())
		for _, other := range [][2]string{{"other", id}, {"acme", "none"}, {"acme", "a\x00b"}, {"acme", ""}} {
			requireReason(t, f.Update(t.Context(), other[0], other[1], object(t, map[string]any{"": 1.0})), codes.NotFound, "CONVERSATION_NOT_FOUND")
			requireReason(t, f.Update(t.Context(), other[0], other[1], nil), codes.NotFound, "CONVERSATION_NOT_FOUND")
			requireReason(t, f.RateConversation(t.Context(), other[0], other[1], 1), codes.NotFound, "CONVERSATION_NOT_FOUND")
			_, err := f.Get(t.Context(), other[0], other[1])
			requireReason(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND")
			_, err = f.Messages(t.Context(), other[0], &agentv1.ListMessagesRequest{IdConversation: other[1]})
			requireReason(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND")
		}
	})
}

func TestMetadataHasLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		names := func(n int) map[string]any {
			made := map[string]any{}
			for i := range n {
				made["n"+strconv.Itoa(i)] = ""
			}
			return made
		}
		// {"x":"…"} is eight bytes longer than the text.
		large := func(n int) map[string]any { return map[string]any{"x": strings.Repeat("a", n-8)} }
		const most = 64 << 10
		create := func(meta map[string]any) error {
			_, err := f.Create(t.Context(), "acme", &agentv1.CreateConversationRequest{BotId: "a1", Meta: object(t, meta)}, nil)
			return err
		}
		name64, name65 := strings.Repeat("é", 64), strings.Repeat("é", 65)
		require.NoError(t, create(names(100)))
		requireInvalid(t, create(names(101)), "meta")
		require.NoError(t, create(map[string]any{name64: 1.0}))
		requireInvalid(t, create(map[string]any{name65: 1.0, "": 2.0, "ok": 3.0}), "meta."+name64, "meta.")
		require.NoError(t, create(large(most)))
		requireInvalid(t, create(large(most+1)), "meta")

		// What is there counts too.
		id := f.create(t, "acme", names(99))
		require.NoError(t, f.Update(t.Context(), "acme", id, object(t, map[string]any{"n99": 1.0, "n0": 2.0})))
		requireInvalid(t, f.Update(t.Context(), "acme", id, object(t, map[string]any{"another": 1.0})), "meta")
		id = f.create(t, "acme", large(most-6))
		require.NoError(t, f.Update(t.Context(), "acme", id, object(t, map[string]any{"y": 1.0})), `,"y":1 is six bytes`)
		requireInvalid(t, f.Update(t.Context(), "acme", id, object(t, map[string]any{"y": 12.0})), "meta")
		got, err := f.Get(t.Context(), "acme", id)
		require.NoError(t, err)
		require.Equal(t, structpb.NewNumberValue(1).GetNumberValue(), got.GetMeta().GetFields()["y"].GetNumberValue(), "a refused update changes nothing")
	})
}

func TestCreate(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		key := &idempotency.Key{Instance: "acme", Scope: "s", Key: "k"}
		request := &agentv1.CreateConversationRequest{BotId: "a1", Identifier: "João"}
		first, err := f.Create(t.Context(), "acme", request, key)
		require.NoError(t, err)
		again, err := f.Create(t.Context(), "acme", request, key)
		require.NoError(t, err)
		require.Equal(t, first, again)
		_, err = f.Create(t.Context(), "acme", request, &idempotency.Key{Instance: "acme", Scope: "s", Key: "k", Fingerprint: [32]byte{1}})
		require.ErrorIs(t, err, idempotency.ErrReused)
		require.Equal(t, []string{first}, f.walk(t, "acme", &agentv1.ListConversationsRequest{}))
		got, err := f.Get(t.Context(), "acme", first)
		require.NoError(t, err)
		require.Equal(t, "João", got.GetIdentifier())
		require.Equal(t, "agent", got.GetChannel())
		require.Empty(t, got.GetMeta().GetFields())
		plain, err := f.Get(t.Context(), "acme", f.create(t, "acme", nil))
		require.NoError(t, err)
		require.Equal(t, plain.GetId(), plain.GetIdentifier())

		for _, agent := range []string{"none", "a\x00", ""} {
			_, err = f.Create(t.Context(), "acme", &agentv1.CreateConversationRequest{BotId: agent}, nil)
			requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
		}
		_, err = f.Create(t.Context(), "acme", &agentv1.CreateConversationRequest{BotId: "a1", Identifier: "a\x00"}, nil)
		requireInvalid(t, err, "identifier")
		require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "a1", start))
		_, err = f.Create(t.Context(), "acme", request, nil)
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
	})
}
