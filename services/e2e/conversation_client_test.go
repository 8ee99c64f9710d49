package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// documentedClient knows of Prosa what the documentation of the conversation API
// says: a base URL, a key, nine operations.
type documentedClient struct{ base, key string }

// call makes an operation and reads its answer into one.
func (c documentedClient) call(t *testing.T, method, path string, body, answer any) *http.Response {
	t.Helper()
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		reader = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.base+path, reader)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s %s: %s", method, path, raw)
	if text, ok := answer.(*string); ok {
		*text = string(raw)
		return response
	}
	require.NoError(t, json.Unmarshal(raw, answer), "%s", raw)
	return response
}

// The documented answers.
type (
	documentedPart    struct{ Type, Text string }
	documentedMessage struct {
		ID, Sender, CreatedAt string
		Message               []documentedPart
		Feedback              *string
	}
	documentedConversation struct {
		ID, Botname, Description, Channel, Identifier, CreatedAt, UpdatedAt string
		Survey, Messages                                                    int
		Meta                                                                map[string]any
	}
	documentedList struct {
		Total, CurrentPage, TotalPages int
		Cursor                         *string
		Conversations                  []documentedConversation
	}
)

// TestConversationClient is a front end that was written from the documentation
// alone: it creates, streams, completes, rates, lists, updates and reads back.
func TestConversationClient(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		prosa := start(t, harness.Spec{Settings: settings})
		manager := clientOf(t, prosa)
		setup, err := manager.Create(t.Context(), "client", harness.Echo, "https://example.com/", false)
		require.NoError(t, err)
		c := documentedClient{base: manager.Base, key: setup.Key}

		var created, other struct{ ID string }
		c.call(t, "POST", "/conversation/create/"+setup.AgentID, map[string]any{"meta": map[string]any{"plano": "Ouro"}}, &created)
		c.call(t, "POST", "/conversation/create/"+setup.AgentID, nil, &other)
		require.NotEqual(t, created.ID, other.ID)

		var streamed string
		response := c.call(t, "POST", "/conversation/stream/"+created.ID, map[string]string{"text": "Olá, é a Conceição"}, &streamed)
		require.Equal(t, "eco: Olá, é a Conceição", streamed)
		first := response.Header.Get("Prosa-Message-Id")
		require.NotEmpty(t, first)
		var whole struct {
			ID           string
			SendMensages []documentedPart
		}
		c.call(t, "POST", "/conversation/complete/"+created.ID, map[string]string{"text": "segunda via"}, &whole)
		require.Equal(t, []documentedPart{{"text", "eco: segunda via"}}, whole.SendMensages)

		var said struct{ Message string }
		c.call(t, "POST", "/conversation/message/feedback/"+whole.ID, map[string]string{"feedback": "like"}, &said)
		require.NotEmpty(t, said.Message)
		c.call(t, "POST", "/conversation/message/feedback/"+first, map[string]string{"feedback": "dislike"}, &said)
		c.call(t, "POST", "/conversation/survey/"+created.ID, map[string]int{"survey": 4}, &said)
		require.NotEmpty(t, said.Message)

		// A walk as the documentation has it: the answer says what to send next.
		var seen []string
		query := url.Values{"limit": {"1"}, "currentPage": {"0"}}
		for page := 1; ; page++ {
			var list documentedList
			c.call(t, "GET", "/conversation?"+query.Encode(), nil, &list)
			require.Equal(t, 2, list.Total)
			require.Equal(t, 2, list.TotalPages)
			require.Equal(t, page, list.CurrentPage)
			seen = append(seen, list.Conversations[0].ID)
			if list.Cursor == nil {
				break
			}
			query.Set("currentPage", strconv.Itoa(list.CurrentPage))
			query.Set("totalPages", strconv.Itoa(list.TotalPages))
			query.Set("total", strconv.Itoa(list.Total))
			query.Set("cursor", *list.Cursor)
		}
		require.Equal(t, []string{other.ID, created.ID}, seen)
		for _, query := range []url.Values{
			{"search": {"CONCEICAO"}}, {"search": {"segunda"}, "meta": {"ouro"}}, {"search": {created.ID}}, {"search": {"via"}, "dateInit": {"2020-01-01"}},
		} {
			var list documentedList
			c.call(t, "GET", "/conversation?"+query.Encode(), nil, &list)
			require.Equal(t, 1, list.Total, "%v", query)
			found := list.Conversations[0]
			require.Equal(t, created.ID, found.ID)
			require.Equal(t, 4, found.Messages)
			require.Equal(t, 4, found.Survey)
			require.Equal(t, "agent", found.Channel)
			require.Equal(t, "Eco", found.Botname)
		}

		c.call(t, "PUT", "/conversation/update/"+created.ID, map[string]any{"plano": "Prata", "itens": []int{1, 2}}, &said)
		require.Equal(t, "Conversa atualizada com sucesso.", said.Message)
		var metadata documentedConversation
		c.call(t, "GET", "/conversation/"+created.ID, nil, &metadata)
		require.Equal(t, map[string]any{"plano": "Prata", "itens": []any{1.0, 2.0}}, metadata.Meta)

		var messages struct{ Messages []documentedMessage }
		c.call(t, "GET", "/conversation/message/"+created.ID, nil, &messages)
		like, dislike := "like", "dislike"
		for i, want := range []documentedMessage{
			{Sender: "user", Message: []documentedPart{{"text", "Olá, é a Conceição"}}},
			{ID: first, Sender: "bot", Message: []documentedPart{{"text", "eco: Olá, é a Conceição"}}, Feedback: &dislike},
			{Sender: "user", Message: []documentedPart{{"text", "segunda via"}}},
			{ID: whole.ID, Sender: "bot", Message: []documentedPart{{"text", "eco: segunda via"}}, Feedback: &like},
		} {
			got := messages.Messages[i]
			require.NotEmpty(t, got.CreatedAt)
			require.NotEmpty(t, got.ID)
			if want.ID == "" {
				want.ID = got.ID
			}
			want.CreatedAt = got.CreatedAt
			require.Equal(t, want, got)
		}
		require.Len(t, messages.Messages, 4)
	})
}
