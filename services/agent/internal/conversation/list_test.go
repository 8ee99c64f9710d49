package conversation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
)

func TestPagesCountAsTheFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		require.Empty(t, f.walk(t, "acme", &agentv1.ListConversationsRequest{}))
		var want []string
		for range 26 {
			want = append([]string{f.create(t, "acme", nil)}, want...)
		}
		f.create(t, "other", nil)
		for _, limit := range []int32{1, 13, 25, 26, 100} {
			require.Equal(t, want, f.walk(t, "acme", &agentv1.ListConversationsRequest{Limit: &limit}))
		}
		got, err := f.List(t.Context(), "acme", &agentv1.ListConversationsRequest{})
		require.NoError(t, err)
		require.Len(t, got.GetConversations(), 25)
		require.EqualValues(t, 2, got.GetTotalPages())

		// New ones change nothing in a walk that has begun, and it need not be told the limit again.
		request := &agentv1.ListConversationsRequest{Limit: proto.Int32(20)}
		first, err := f.List(t.Context(), "acme", request)
		require.NoError(t, err)
		f.create(t, "acme", nil)
		f.converse(t, "acme", "c1", said{user: "oi", bot: []string{"olá"}})
		second, err := f.List(t.Context(), "acme", &agentv1.ListConversationsRequest{CurrentPage: 1, Cursor: first.GetCursor(), Total: "x", TotalPages: "y"})
		require.NoError(t, err)
		require.EqualValues(t, 26, second.GetTotal())
		require.EqualValues(t, 2, second.GetCurrentPage())
		require.Len(t, second.GetConversations(), 6)
		require.Nil(t, second.Cursor)
	})
}

func TestCursorsAreBound(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for range 4 {
			f.create(t, "acme", nil)
			f.create(t, "other", nil)
		}
		first, err := f.List(t.Context(), "acme", &agentv1.ListConversationsRequest{Limit: proto.Int32(1), DateInit: "2026-01-01"})
		require.NoError(t, err)
		cursor := first.GetCursor()
		other := "A"
		if cursor[20:21] == other {
			other = "B"
		}
		good := func() *agentv1.ListConversationsRequest {
			return &agentv1.ListConversationsRequest{CurrentPage: 1, Cursor: cursor, DateInit: "2026-01-01"}
		}
		_, err = f.List(t.Context(), "acme", good())
		require.NoError(t, err)
		for name, test := range map[string]struct {
			field  string
			change func(r *agentv1.ListConversationsRequest)
		}{
			"with the first page": {"cursor", func(r *agentv1.ListConversationsRequest) { r.CurrentPage = 0 }},
			"missing":             {"cursor", func(r *agentv1.ListConversationsRequest) { r.Cursor = "" }},
			"forged":              {"cursor", func(r *agentv1.ListConversationsRequest) { r.Cursor = cursor[:20] + other + cursor[21:] }},
			"cut":                 {"cursor", func(r *agentv1.ListConversationsRequest) { r.Cursor = cursor[:len(cursor)-1] }},
			"other days":          {"cursor", func(r *agentv1.ListConversationsRequest) { r.DateInit = "2026-01-02" }},
			"another end":         {"cursor", func(r *agentv1.ListConversationsRequest) { r.DateEnd = "2027-01-02" }},
			"a search":            {"cursor", func(r *agentv1.ListConversationsRequest) { r.Search = "x" }},
			"metadata":            {"cursor", func(r *agentv1.ListConversationsRequest) { r.Meta = "x" }},
			"another page":        {"currentPage", func(r *agentv1.ListConversationsRequest) { r.CurrentPage = 2 }},
			"another limit":       {"limit", func(r *agentv1.ListConversationsRequest) { r.Limit = proto.Int32(2) }},
		} {
			t.Run(name, func(t *testing.T) {
				r := good()
				test.change(r)
				_, err := f.List(t.Context(), "acme", r)
				requireInvalid(t, err, test.field)
				violations := f.CheckList("acme", r)
				require.Len(t, violations, 1)
				require.Equal(t, test.field, violations[0].Field)
			})
		}
		_, err = f.List(t.Context(), "other", good())
		requireInvalid(t, err, "cursor")
		f.clock.Advance(pagetoken.Lifetime + time.Second)
		_, err = f.List(t.Context(), "acme", good())
		requireInvalid(t, err, "cursor")
	})
}

func TestDaysAreThoseOfTheInstance(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		at := func(text string) string {
			moment, err := time.Parse(time.RFC3339Nano, text)
			require.NoError(t, err)
			f.clock.Set(moment.Add(-time.Second))
			return f.create(t, "acme", nil)
		}
		// Midnight in São Paulo is at three in UTC.
		before, first := at("2026-03-01T02:59:59.999999Z"), at("2026-03-01T03:00:00Z")
		last, after := at("2026-03-02T02:59:59.999999Z"), at("2026-03-02T03:00:00Z")
		for _, test := range []struct {
			from, to string
			want     []string
		}{
			{"2026-03-01", "2026-03-01", []string{last, first}},
			{"2026-03-01", "", []string{after, last, first}},
			{"", "2026-03-01", []string{last, first, before}},
			{"2026-02-28", "2026-02-28", []string{before}},
			{"2026-03-03", "2026-03-04", []string{}},
		} {
			require.Equal(t, test.want, f.walk(t, "acme", &agentv1.ListConversationsRequest{DateInit: test.from, DateEnd: test.to}), "%+v", test)
		}
		for _, test := range []struct {
			from, to string
			fields   []string
		}{
			{"2026-02-30", "", []string{"dateInit"}},
			{"2026-13-01", "2026-02-29", []string{"dateInit", "dateEnd"}},
			{"2026-03-02", "2026-03-01", []string{"dateEnd"}},
		} {
			_, err := f.List(t.Context(), "acme", &agentv1.ListConversationsRequest{DateInit: test.from, DateEnd: test.to})
			requireInvalid(t, err, test.fields...)
		}
	})
}

func TestEveryTextIsSearched(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		chat := f.create(t, "acme", map[string]any{"cidade": "São João", "pedido": map[string]any{"itens": []any{"Caneta", 42.5, true}}})
		f.converse(t, "acme", "k1",
			said{user: "Quero uma REUNIÃO amanhã", bot: []string{"Claro!", "Às 15:00?"}}, said{user: "SIM", bot: []string{"Agendado: protocolo Nº 77/2026"}})
		f.converse(t, "other", "k1", said{user: "Quero uma reunião amanhã", bot: []string{"Claro!"}})
		both := []string{"k1", chat}
		for range 2 { // before it is in the index, and after
			for text, want := range map[string][]string{
				"reuniao": {"k1"}, "REUNIÃO AMA": {"k1"}, "  amanhã ": {"k1"}, "as 15:0": {"k1"}, "nº 77/2": {"k1"}, "claro!as": {}, "claro! as": {}, "amanha claro": {},
				"agil": both, "VENDE TUDO": both, "api_ch": {"k1"}, "agent": {chat}, "pessoa K1": {"k1"}, chat: {chat}, strings.ToUpper(chat[4:20]): {chat},
				"k1": {"k1"}, "%": {}, "xyz": {}, "joao": {}, " ": both, "": both, "\x00": both,
			} {
				require.Equal(t, want, f.walk(t, "acme", &agentv1.ListConversationsRequest{Search: text}), "%q", text)
			}
			for text, want := range map[string][]string{
				"sao joao": {chat}, "CANETA": {chat}, "42.5": {chat}, "ru": {chat}, "true": {chat}, "cidade": {}, "pedido": {}, "itens": {}, "reuniao": {},
			} {
				require.Equal(t, want, f.walk(t, "acme", &agentv1.ListConversationsRequest{Meta: text}), "%q", text)
			}
			require.Equal(t, []string{chat}, f.walk(t, "acme", &agentv1.ListConversationsRequest{Meta: "caneta", Search: "agil"}))
			require.Empty(t, f.walk(t, "acme", &agentv1.ListConversationsRequest{Meta: "caneta", Search: "reuniao"}))
			f.index(t)
		}
	})
}

func TestItemsShowWhatHappened(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", said{user: "oi", bot: []string{"olá", "tudo bem?"}}, said{user: "sim"})
		f.clock.Advance(time.Minute)
		require.NoError(t, f.RateConversation(t.Context(), "acme", "c1", 3))
		for range 2 {
			got, err := f.List(t.Context(), "acme", &agentv1.ListConversationsRequest{})
			require.NoError(t, err)
			require.Len(t, got.GetConversations(), 1)
			c := got.GetConversations()[0]
			require.Equal(t, "c1", c.GetId())
			require.Equal(t, "Vendedor Ágil", c.GetBotname())
			require.Equal(t, "Vende tudo", c.GetDescription())
			require.Equal(t, "api_channel", c.GetChannel())
			require.Equal(t, "Pessoa c1", c.GetIdentifier())
			require.EqualValues(t, 3, c.GetSurvey())
			require.EqualValues(t, 3, c.GetMessages())
			require.Equal(t, start.Add(time.Second), c.GetCreatedAt().AsTime())
			require.Equal(t, f.clock.Now(), c.GetUpdatedAt().AsTime())
			one, err := f.Get(t.Context(), "acme", "c1")
			require.NoError(t, err)
			require.True(t, proto.Equal(c, one))
			f.index(t)
		}
	})
}
