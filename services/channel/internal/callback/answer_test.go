package callback

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func text(words string) *messagev1.Message {
	return &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}}
}

// The example of the documentation.
func TestBodyIsTheDocumentedOne(t *testing.T) {
	context, err := structpb.NewStruct(map[string]any{"var1": "value1", "order_date": "2026-01-15"})
	require.NoError(t, err)
	turn := &agentv1.RunTurnResponse{Context: context, Messages: []*messagev1.Message{
		text("Olá!"),
		{Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
			Text: "Como posso ajudar?", Options: []*messagev1.Option{{Label: "Meu pedido", Value: "index0"}},
		}}},
		{Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: "Quando você comprou?"}}},
		{Content: &messagev1.Message_Media{Media: &messagev1.Media{Kind: messagev1.Media_KIND_IMAGE, Link: "https://example.com/a.png", Filename: "a.png"}}},
	}}
	const output = `{"identifier":"ana","output":[{"type":"text","text":"Olá!"},` +
		`{"type":"select","text":"Como posso ajudar?","payload":{"pick":"Como posso ajudar?","options":[{"title":"Meu pedido","value":"index0"}]}},` +
		`{"type":"date","text":"Quando você comprou?"},` +
		`{"type":"media","media":{"type":"image","link":"https://example.com/a.png","filename":"a.png","text":""}}]`
	b := &store.BotAPI{}
	require.Equal(t, output+`}`, string(Body(b, "ana", turn)))
	b.IncludeContext = true
	require.Equal(t, output+`,"context":{"order_date":"2026-01-15","var1":"value1"}}`, string(Body(b, "ana", turn)))
	require.Equal(t, `{"identifier":"ana","output":[]}`, string(Body(b, "ana", &agentv1.RunTurnResponse{})))
}

func TestDue(t *testing.T) {
	said := &agentv1.RunTurnResponse{Messages: []*messagev1.Message{text("oi")}}
	for name, test := range map[string]struct {
		integration store.BotAPI
		turn        *agentv1.RunTurnResponse
		want        bool
	}{
		"asynchronous":        {store.BotAPI{Version: store.BotV2, CallbackURL: "u", CallbackToken: []byte("t")}, said, true},
		"the caller waits":    {store.BotAPI{Version: store.BotV1, CallbackURL: "u", CallbackToken: []byte("t")}, said, false},
		"no token":            {store.BotAPI{Version: store.BotV2, CallbackURL: "u"}, said, false},
		"no URL":              {store.BotAPI{Version: store.BotV2, CallbackToken: []byte("t")}, said, false},
		"nothing was said":    {store.BotAPI{Version: store.BotV2, CallbackURL: "u", CallbackToken: []byte("t")}, &agentv1.RunTurnResponse{}, false},
		"neither URL nor any": {store.BotAPI{Version: store.BotV2}, said, false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, Due(&test.integration, test.turn)) })
	}
}
