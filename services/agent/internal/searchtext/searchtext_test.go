package searchtext_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/searchtext"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFold(t *testing.T) {
	for text, want := range map[string]string{
		" Reunião\n": "reuniao", "a\x00b\x1ec": "a b c", "\x00": "", "São  João": "sao  joao", "👍🏽": "👍🏽", "a\xffb": "a\ufffdb",
	} {
		require.Equal(t, want, searchtext.Fold(text), "%q", text)
	}
	require.True(t, searchtext.IsIndexed("não"))
	require.False(t, searchtext.IsIndexed("nã"))
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	require.NoError(t, err)
	return raw
}

func TestEveryWordOfATurn(t *testing.T) {
	option := func(label string) *messagev1.Option {
		return &messagev1.Option{Label: label, Description: "D" + label, Value: "index0"}
	}
	label := "Seção"
	answer := encode(t, &agentv1.RunTurnResponse{InteractionId: "i1", Messages: []*messagev1.Message{
		{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: "Olá"}}},
		{Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: "Quando?"}}},
		{Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{Text: "Qual?", Options: []*messagev1.Option{option("A")}}}},
		{Content: &messagev1.Message_List{List: &messagev1.List{Text: "Lista", Title: "Título", Sections: []*messagev1.Section{{Label: &label, Items: []*messagev1.Option{option("B")}}}}}},
		{Content: &messagev1.Message_Media{Media: &messagev1.Media{Text: "Legenda", Filename: "nota.pdf", Link: "https://example.com/x"}}},
	}})
	record := encode(t, &contactsv1.TurnRecord{UserText: "Às 15h", UserPostback: "index0"})
	require.Equal(t, "as 15h\x1eola\x1equando?\x1equal?\x1ea\x1eda\x1elista\x1etitulo\x1esecao\x1eb\x1edb\x1elegenda\x1enota.pdf", searchtext.Turn(answer, record))
	require.Equal(t, "as 15h", searchtext.Turn([]byte{0xff}, record), "what cannot be read is left out")
	require.Empty(t, searchtext.Turn(nil, nil))
	require.Equal(t, "64a1\x1ejoao", searchtext.Head("64a1", " João"))
}

func TestValuesOfMetadata(t *testing.T) {
	m, err := structpb.NewStruct(map[string]any{"nome": map[string]any{"x": []any{"Ção", 1e21, 0.5, false, nil, ""}}})
	require.NoError(t, err)
	require.Equal(t, "cao\x1e1000000000000000000000\x1e0.5\x1efalse", searchtext.Metadata(m))
	require.Empty(t, searchtext.Metadata(nil))
}

func TestLongTextsAreCut(t *testing.T) {
	turn := func(text string) string {
		return searchtext.Turn(nil, encode(t, &contactsv1.TurnRecord{UserText: text}))
	}
	require.Len(t, turn(strings.Repeat("a", searchtext.MaxBytes)), searchtext.MaxBytes)
	require.Len(t, turn(strings.Repeat("a", searchtext.MaxBytes+1)), searchtext.MaxBytes)
	cut := turn(strings.Repeat("한", searchtext.MaxBytes))
	require.True(t, utf8.ValidString(cut))
	require.LessOrEqual(t, len(cut), searchtext.MaxBytes)
}
