package conversation_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/conversation"
	"github.com/prosa-chat/prosa/services/agent/internal/search"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// instances know acme and other, in the same place.
type instances struct{}

func (instances) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	return &accountsv1.Instance{Slug: slug, TimeZone: "America/Sao_Paulo"}, nil
}

type fixture struct {
	*conversation.Conversations
	store *store.Store
	clock *clock.Manual
	ids   *id.Source
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		f := &fixture{store: store.New(db), clock: clock.NewManual(start)}
		f.ids = id.NewSource(f.clock, nil)
		f.Conversations = conversation.New(conversation.Deps{
			Store: f.store, Instances: instances{}, Clock: f.clock, IDs: f.ids, Tokens: pagetoken.New(make([]byte, pagetoken.KeySize), f.clock),
		})
		for _, instance := range []string{"acme", "other"} {
			require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
				_, err := f.store.CreateAgent(ctx, tx, store.Agent{Instance: instance, ID: "a1", CreateTime: start},
					store.Version{Format: store.FormatYAML, Source: []byte{}, Definition: []byte{}, DisplayName: "Vendedor Ágil", Description: "Vende tudo"})
				return err
			}))
		}
		test(t, f)
	})
}

// said is one turn: what the person says, and what is answered.
type said struct {
	user, postback string
	bot            []string
	human          bool
}

// converse commits turns of a conversation that came by a channel, a second after the other.
func (f *fixture) converse(t *testing.T, instance, id string, turns ...said) (ids []string) {
	t.Helper()
	lane := store.Lane{Instance: instance, AgentID: "a1", EndpointID: "e1", Identifier: "Pessoa " + id}
	for _, s := range turns {
		f.clock.Advance(time.Second)
		now := f.clock.Now()
		turn := &store.Turn{
			Lane: lane, ID: f.ids.New(), Source: "api_channel", Time: now,
			Conversation: store.Conversation{ID: id, ContactID: "p", AgentVersion: 1, AttendanceID: 1, FlowState: []byte{1}},
		}
		position, err := f.store.Position(t.Context(), lane, turn.ID)
		require.NoError(t, err)
		if position.Conversation != nil {
			turn.Conversation = *position.Conversation
		}
		answer := &agentv1.RunTurnResponse{InteractionId: id, AttendanceId: 1}
		for _, text := range s.bot {
			answer.Messages = append(answer.Messages, &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}})
		}
		record := &contactsv1.TurnRecord{
			UserTime: timestamppb.New(now.Add(-100 * time.Millisecond)), UserText: s.user, UserPostback: s.postback, AnswerTime: timestamppb.New(now),
			AnsweredByHuman: s.human,
		}
		turn.Answer, turn.Record = encode(t, answer), encode(t, record)
		if s.user != "" || s.postback != "" {
			turn.Messages++
		}
		if len(s.bot) > 0 {
			turn.Messages++
		}
		require.NoError(t, f.store.CommitTurn(t.Context(), turn))
		ids = append(ids, turn.ID)
	}
	return ids
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	require.NoError(t, err)
	return append([]byte{}, raw...)
}

// index runs the worker until nothing is behind, on an engine where contacts has all turns.
func (f *fixture) index(t *testing.T) {
	t.Helper()
	records, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 100_000)
	require.NoError(t, err)
	lease, held, err := f.store.TakeLease(t.Context(), "recorder", "h", start, start.Add(time.Hour))
	require.NoError(t, err)
	require.True(t, held)
	for _, r := range records {
		require.NoError(t, f.store.DeleteRecords(t.Context(), lease, r.Key.Instance, []store.RecordKey{r.Key}))
	}
	worker := search.NewWorker(f.store, clock.System(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	require.Eventually(t, func() bool {
		for _, instance := range []string{"acme", "other"} {
			fresh, err := f.store.FreshConversations(t.Context(), instance)
			if err != nil || len(fresh) > 0 {
				return false
			}
		}
		return true
	}, 20*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func (f *fixture) create(t *testing.T, instance string, meta map[string]any) string {
	t.Helper()
	f.clock.Advance(time.Second)
	id, err := f.Create(t.Context(), instance, &agentv1.CreateConversationRequest{BotId: "a1", Meta: object(t, meta)}, nil)
	require.NoError(t, err)
	return id
}

func object(t *testing.T, values map[string]any) *structpb.Struct {
	t.Helper()
	if values == nil {
		return nil
	}
	made, err := structpb.NewStruct(values)
	require.NoError(t, err)
	return made
}

// walk gives the ids of all pages, and checks that the pages count as they must.
func (f *fixture) walk(t *testing.T, instance string, r *agentv1.ListConversationsRequest) []string {
	t.Helper()
	ids := []string{}
	var first *agentv1.ListConversationsResponse
	for page := int32(0); ; page++ {
		r.CurrentPage = page
		got, err := f.List(t.Context(), instance, r)
		require.NoError(t, err)
		require.Equal(t, page+1, got.GetCurrentPage())
		if first == nil {
			first = got
		}
		require.Equal(t, first.GetTotal(), got.GetTotal())
		require.Equal(t, first.GetTotalPages(), got.GetTotalPages())
		for _, c := range got.GetConversations() {
			ids = append(ids, c.GetId())
		}
		if got.Cursor == nil {
			if first.GetTotal() > 0 {
				require.EqualValues(t, first.GetTotalPages(), page+1)
			} else {
				require.Zero(t, first.GetTotalPages())
			}
			require.Len(t, ids, int(first.GetTotal()))
			return ids
		}
		r.Cursor = got.GetCursor()
	}
}

// requireInvalid checks that a call is refused for these fields.
func requireInvalid(t *testing.T, err error, fields ...string) {
	t.Helper()
	require.Equal(t, codes.InvalidArgument, rpcerr.Code(err), "%v", err)
	var named []string
	for _, v := range rpcerr.Violations(status.Convert(err)) {
		require.NotEmpty(t, v.Reason)
		named = append(named, v.Field)
	}
	require.ElementsMatch(t, fields, named)
}
