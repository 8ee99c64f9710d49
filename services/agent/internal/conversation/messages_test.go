package conversation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/messageid"
)

// messages gives all pages of a conversation in the form "sender: text|text".
func (f *fixture) messages(t *testing.T, id string, limit *int32) (all []string, pages int) {
	t.Helper()
	r := &agentv1.ListMessagesRequest{IdConversation: id, Limit: limit}
	for {
		got, err := f.Messages(t.Context(), "acme", r)
		require.NoError(t, err)
		pages++
		if limit != nil {
			require.LessOrEqual(t, len(got.GetMessages()), int(*limit))
		}
		for _, m := range got.GetMessages() {
			var texts []string
			for _, part := range m.GetMessage() {
				texts = append(texts, part.GetText().GetText())
			}
			all = append(all, m.GetSender()+": "+strings.Join(texts, "|"))
		}
		if got.Cursor == nil {
			return all, pages
		}
		require.NotEmpty(t, got.GetMessages())
		r.Cursor = got.GetCursor()
	}
}

func TestMessagesAreOldestFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		ids := f.converse(t, "acme", "c1",
			said{bot: []string{"Bem-vindo"}}, said{user: "oi", bot: []string{"olá", "tudo bem?"}}, said{user: "sim"}, said{},
			said{bot: []string{"sou gente"}, human: true}, said{postback: "index0", bot: []string{"ok"}})
		want := []string{"bot: Bem-vindo", "user: oi", "bot: olá|tudo bem?", "user: sim", "human: sou gente", "user: ", "bot: ok"}
		for limit := int32(1); limit < 10; limit++ {
			got, _ := f.messages(t, "c1", &limit)
			require.Equal(t, want, got, "%d at a time", limit)
		}
		got, pages := f.messages(t, "c1", nil)
		require.Equal(t, want, got)
		require.Equal(t, 1, pages)

		page, err := f.Messages(t.Context(), "acme", &agentv1.ListMessagesRequest{IdConversation: "c1"})
		require.NoError(t, err)
		first, asked, picked := page.GetMessages()[0], page.GetMessages()[1], page.GetMessages()[5]
		require.Equal(t, ids[0], first.GetId())
		require.Equal(t, messageid.OfPerson(ids[1]), asked.GetId())
		require.Equal(t, start.Add(2*time.Second-100*time.Millisecond).Truncate(time.Millisecond), asked.GetCreatedAt().AsTime())
		require.Equal(t, start.Add(time.Second).Truncate(time.Millisecond), first.GetCreatedAt().AsTime())
		require.Equal(t, "index0", picked.GetPostback())
		require.Empty(t, picked.GetMessage())

		empty := f.create(t, "acme", nil)
		got, _ = f.messages(t, empty, nil)
		require.Empty(t, got)
	})
}

// However long a conversation, each page begins near where the one before ended, and what is said meanwhile comes last.
func TestLongConversationsArePaged(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const turns = 230
		var all []said
		var want []string
		for i := range turns {
			all = append(all, said{user: fmt.Sprint("pergunta ", i), bot: []string{fmt.Sprint("resposta ", i)}})
			want = append(want, fmt.Sprint("user: pergunta ", i), fmt.Sprint("bot: resposta ", i))
		}
		f.converse(t, "acme", "c1", all...)
		for _, limit := range []int32{7, 100, 459, 460, 461, 10_000} {
			got, pages := f.messages(t, "c1", &limit)
			require.Equal(t, want, got)
			require.Equal(t, (2*turns+int(limit)-1)/int(limit), pages)
		}
		r := &agentv1.ListMessagesRequest{IdConversation: "c1", Limit: proto.Int32(400)}
		first, err := f.Messages(t.Context(), "acme", r)
		require.NoError(t, err)
		f.converse(t, "acme", "c1", said{user: "mais", bot: []string{"uma"}})
		r.Cursor = first.GetCursor()
		second, err := f.Messages(t.Context(), "acme", r)
		require.NoError(t, err)
		require.Len(t, second.GetMessages(), 62)
		require.Nil(t, second.Cursor)
		r.IdConversation = f.create(t, "acme", nil)
		_, err = f.Messages(t.Context(), "acme", r)
		requireInvalid(t, err, "cursor")
		_, err = f.Messages(t.Context(), "acme", &agentv1.ListMessagesRequest{IdConversation: "c1", Cursor: "forged"})
		requireInvalid(t, err, "cursor")
	})
}

func TestLargePagesEndEarly(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var all []said
		for range 60 {
			all = append(all, said{user: "x", bot: []string{strings.Repeat("a", 10_000), strings.Repeat("b", 10_000), strings.Repeat("c", 10_000), strings.Repeat("d", 10_000)}})
		}
		f.converse(t, "acme", "c1", all...)
		page, err := f.Messages(t.Context(), "acme", &agentv1.ListMessagesRequest{IdConversation: "c1"})
		require.NoError(t, err)
		require.NotNil(t, page.Cursor)
		require.Less(t, proto.Size(page), 3<<20)
		require.Greater(t, proto.Size(page), 1<<20)
		got, pages := f.messages(t, "c1", nil)
		require.Len(t, got, 120)
		require.Equal(t, 2, pages)
	})
}

func TestFeedbackIsForAnswers(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		ids := f.converse(t, "acme", "c1", said{user: "oi", bot: []string{"olá"}}, said{user: "sim"})
		require.NoError(t, f.RateMessage(t.Context(), "acme", ids[0], "dislike"))
		require.NoError(t, f.RateMessage(t.Context(), "acme", ids[0], "like"))
		page, err := f.Messages(t.Context(), "acme", &agentv1.ListMessagesRequest{IdConversation: "c1"})
		require.NoError(t, err)
		require.Nil(t, page.GetMessages()[0].Feedback)
		require.Equal(t, "like", page.GetMessages()[1].GetFeedback())
		for _, other := range [][2]string{
			{"acme", ids[1]}, {"acme", messageid.OfPerson(ids[0])}, {"other", ids[0]}, {"acme", "none"}, {"acme", "\x00"}, {"acme", ""},
		} {
			requireReason(t, f.RateMessage(t.Context(), other[0], other[1], "like"), codes.NotFound, "MESSAGE_NOT_FOUND")
		}
	})
}
