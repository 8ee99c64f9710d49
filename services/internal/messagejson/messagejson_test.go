package messagejson

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

const menuID = "64a1b2c3d4e5f6a7b8c9d0e3"

var created = timestamppb.New(time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC))

func bot(m *messagev1.Message) *messagev1.Message {
	m.Origin, m.CreateTime = messagev1.Origin_ORIGIN_BOT, created
	return m
}

func text(words string) *messagev1.Message {
	return bot(&messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}})
}

func option(label, description, value string) *messagev1.Option {
	return &messagev1.Option{Label: label, Description: description, Value: value}
}

var (
	date    = bot(&messagev1.Message{Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: "Selecione uma data"}}})
	buttons = bot(&messagev1.Message{Msgid: menuID, Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
		Text:    "Escolha uma opção:",
		Options: []*messagev1.Option{option("Opção 1", "not shown on buttons", "index0"), option("Opção 2", "", "index1")},
	}}})
	simpleList = bot(&messagev1.Message{Msgid: menuID, Content: &messagev1.Message_List{List: &messagev1.List{
		Text: "Selecione um item:", Title: "Selecionar",
		Sections: []*messagev1.Section{{Items: []*messagev1.Option{option("Item 1", "Descrição do item", "index0"), option("Item 2", "", "index1")}}},
	}}})
	sectionList = bot(&messagev1.Message{Msgid: menuID, Content: &messagev1.Message_List{List: &messagev1.List{
		Text: "Selecione um item:", Title: "Selecionar",
		Sections: []*messagev1.Section{
			{Label: proto.String("Seção 1"), Items: []*messagev1.Option{option("Item 1.1", "", "section0-index0"), option("Item 1.2", "", "section0-index1")}},
			{Label: proto.String("Seção 2"), Items: []*messagev1.Option{option("Item 2.1", "", "section1-index0")}},
		},
	}}})
	media = bot(&messagev1.Message{Content: &messagev1.Message_Media{Media: &messagev1.Media{
		Kind: messagev1.Media_KIND_IMAGE, Link: "https://example.com/imagem.png", Filename: "imagem.png", Text: "Legenda opcional",
	}}})
)

// The examples of the documentation, with its dots filled in.
func TestAppendWritesTheDocumentedExamples(t *testing.T) {
	for want, m := range map[string]*messagev1.Message{
		`{"type":"text","text":"Mensagem do bot","origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`:                                                                                                                                                                                                                        text("Mensagem do bot"),
		`{"type":"date","text":"Selecione uma data","origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`:                                                                                                                                                                                                                     date,
		`{"msgid":"64a1b2c3d4e5f6a7b8c9d0e3","type":"buttons","buttons":{"text":"Escolha uma opção:","options":[{"label":"Opção 1","value":"index0"},{"label":"Opção 2","value":"index1"}]},"origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`:                                                                             buttons,
		`{"msgid":"64a1b2c3d4e5f6a7b8c9d0e3","type":"list","list":{"text":"Selecione um item:","title":"Selecionar","options":[{"items":[{"label":"Item 1","description":"Descrição do item","value":"index0"},{"label":"Item 2","description":"","value":"index1"}]}]},"origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`: simpleList,
		`{"msgid":"64a1b2c3d4e5f6a7b8c9d0e3","type":"list","list":{"text":"Selecione um item:","title":"Selecionar","options":[{"label":"Seção 1","items":[{"label":"Item 1.1","description":"","value":"section0-index0"},{"label":"Item 1.2","description":"","value":"section0-index1"}]},{"label":"Seção 2","items":[{"label":"Item 2.1","description":"","value":"section1-index0"}]}]},"origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`: sectionList,
		`{"type":"media","media":{"type":"image","link":"https://example.com/imagem.png","filename":"imagem.png","text":"Legenda opcional"},"origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`:                                                                                                                                                                                                                                                  media,
	} {
		require.Equal(t, want, string(Append(nil, m)))
		require.Equal(t, "before "+want, string(Append([]byte("before "), m)))
	}
}

func TestAppendBareWritesTheHistoryForm(t *testing.T) {
	for want, m := range map[string]*messagev1.Message{
		`{"text":"Olá! Eu sou o assistente virtual.","type":"text"}`: text("Olá! Eu sou o assistente virtual."),
		`{"type":"date","text":"Selecione uma data"}`:                date,
		`{"msgid":"64a1b2c3d4e5f6a7b8c9d0e3","type":"buttons","buttons":{"text":"Escolha uma opção:","options":[{"label":"Opção 1","value":"index0"},{"label":"Opção 2","value":"index1"}]}}`:                                                                             buttons,
		`{"msgid":"64a1b2c3d4e5f6a7b8c9d0e3","type":"list","list":{"text":"Selecione um item:","title":"Selecionar","options":[{"items":[{"label":"Item 1","description":"Descrição do item","value":"index0"},{"label":"Item 2","description":"","value":"index1"}]}]}}`: simpleList,
		`{"type":"media","media":{"type":"image","link":"https://example.com/imagem.png","filename":"imagem.png","text":"Legenda opcional"}}`:                                                                                                                             media,
	} {
		require.Equal(t, want, string(AppendBare([]byte{}, m)))
	}
}

func TestCreatedAtHasThreeDigitsInUTC(t *testing.T) {
	for want, at := range map[string]time.Time{
		"2024-01-15T10:30:00.000Z": time.Date(2024, 1, 15, 7, 30, 0, 0, time.FixedZone("BRT", -3*3600)),
		"2024-01-15T10:30:00.100Z": time.Date(2024, 1, 15, 10, 30, 0, 100_000_000, time.UTC),
		"2024-01-15T10:30:00.001Z": time.Date(2024, 1, 15, 10, 30, 0, 1_999_999, time.UTC),
		"2024-12-31T23:59:59.999Z": time.Date(2024, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		m := text("x")
		m.CreateTime = timestamppb.New(at)
		require.Equal(t, `{"type":"text","text":"x","origin":"bot","createdAt":"`+want+`"}`, string(Append(nil, m)))
	}
}

func TestOriginsAndMediaTypes(t *testing.T) {
	human := text("x")
	human.Origin = messagev1.Origin_ORIGIN_HUMAN
	require.Contains(t, string(Append(nil, human)), `"origin":"human"`)
	for kind, want := range map[messagev1.Media_Kind]string{
		messagev1.Media_KIND_IMAGE: "image", messagev1.Media_KIND_VIDEO: "video", messagev1.Media_KIND_AUDIO: "audio",
		messagev1.Media_KIND_DOCUMENT: "document", messagev1.Media_KIND_STICKER: "sticker", messagev1.Media_KIND_UNSPECIFIED: "document",
	} {
		require.Equal(t, `{"type":"`+want+`","link":"","filename":"","text":""}`, string(AppendMedia(nil, &messagev1.Media{Kind: kind})))
	}
}

func TestMessagesWithoutContentStayJSON(t *testing.T) {
	for _, m := range []*messagev1.Message{
		nil, {}, {Content: &messagev1.Message_Text{}}, {Content: &messagev1.Message_Date{}}, {Content: &messagev1.Message_Buttons{}},
		{Content: &messagev1.Message_List{}}, {Content: &messagev1.Message_Media{}},
		{Content: &messagev1.Message_List{List: &messagev1.List{Sections: []*messagev1.Section{nil, {Items: []*messagev1.Option{nil}}}}}},
	} {
		require.True(t, json.Valid(Append(nil, m)), string(Append(nil, m)))
		require.True(t, json.Valid(AppendBare(nil, m)), string(AppendBare(nil, m)))
	}
}

// document is what a receiver reads.
type document struct {
	Msgid   *string `json:"msgid"`
	Type    string  `json:"type"`
	Text    *string `json:"text"`
	Buttons *struct {
		Text    string `json:"text"`
		Options []item `json:"options"`
	} `json:"buttons"`
	List *struct {
		Text    string `json:"text"`
		Title   string `json:"title"`
		Options []struct {
			Label *string `json:"label"`
			Items []item  `json:"items"`
		} `json:"options"`
	} `json:"list"`
	Media *struct {
		Type, Link, Filename, Text string
	} `json:"media"`
	Origin    string `json:"origin"`
	CreatedAt string `json:"createdAt"`
}

type item struct {
	Label       string  `json:"label"`
	Description *string `json:"description"`
	Value       string  `json:"value"`
}

func drawOptions(t *rapid.T) []*messagev1.Option {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *messagev1.Option {
		return option(rapid.String().Draw(t, "label"), rapid.String().Draw(t, "description"), rapid.String().Draw(t, "value"))
	}), 1, 4).Draw(t, "options")
}

func drawMessage(t *rapid.T) *messagev1.Message {
	words := rapid.String()
	m := &messagev1.Message{
		Origin:     rapid.SampledFrom([]messagev1.Origin{messagev1.Origin_ORIGIN_BOT, messagev1.Origin_ORIGIN_HUMAN}).Draw(t, "origin"),
		CreateTime: timestamppb.New(time.UnixMilli(rapid.Int64Range(0, 253402300799999).Draw(t, "created"))),
	}
	switch rapid.IntRange(0, 4).Draw(t, "content") {
	case 0:
		m.Content = &messagev1.Message_Text{Text: &messagev1.Text{Text: words.Draw(t, "text")}}
	case 1:
		m.Content = &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: words.Draw(t, "text")}}
	case 2:
		m.Msgid = menuID
		m.Content = &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{Text: words.Draw(t, "text"), Options: drawOptions(t)}}
	case 3:
		m.Msgid = menuID
		sections := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *messagev1.Section {
			return &messagev1.Section{Label: rapid.Ptr(rapid.String(), true).Draw(t, "section"), Items: drawOptions(t)}
		}), 1, 3).Draw(t, "sections")
		m.Content = &messagev1.Message_List{List: &messagev1.List{Text: words.Draw(t, "text"), Title: words.Draw(t, "title"), Sections: sections}}
	default:
		m.Content = &messagev1.Message_Media{Media: &messagev1.Media{
			Kind: messagev1.Media_Kind(rapid.IntRange(1, 5).Draw(t, "kind")),
			Link: words.Draw(t, "link"), Filename: words.Draw(t, "filename"), Text: words.Draw(t, "caption"),
		}}
	}
	return m
}

func requireItems(t require.TestingT, want []*messagev1.Option, got []item, described bool) {
	require.Len(t, got, len(want))
	for i, one := range want {
		require.Equal(t, one.Label, got[i].Label)
		require.Equal(t, one.Value, got[i].Value)
		if described {
			require.Equal(t, &one.Description, got[i].Description)
		} else {
			require.Nil(t, got[i].Description)
		}
	}
}

func TestAppendIsReadBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		full := Append(nil, m)
		var got document
		require.NoError(t, json.Unmarshal(full, &got))
		require.Equal(t, m.Msgid != "", got.Msgid != nil)
		switch content := m.Content.(type) {
		case *messagev1.Message_Text:
			require.Equal(t, "text", got.Type)
			require.Equal(t, content.Text.Text, *got.Text)
		case *messagev1.Message_Date:
			require.Equal(t, "date", got.Type)
			require.Equal(t, content.Date.Text, *got.Text)
		case *messagev1.Message_Buttons:
			require.Equal(t, "buttons", got.Type)
			require.Equal(t, content.Buttons.Text, got.Buttons.Text)
			requireItems(t, content.Buttons.Options, got.Buttons.Options, false)
		case *messagev1.Message_List:
			require.Equal(t, "list", got.Type)
			require.Equal(t, content.List.Text, got.List.Text)
			require.Equal(t, content.List.Title, got.List.Title)
			require.Len(t, got.List.Options, len(content.List.Sections))
			for i, section := range content.List.Sections {
				require.Equal(t, section.Label, got.List.Options[i].Label)
				requireItems(t, section.Items, got.List.Options[i].Items, true)
			}
		case *messagev1.Message_Media:
			require.Equal(t, "media", got.Type)
			require.Equal(t, mediaType(content.Media.Kind), got.Media.Type)
			require.Equal(t, []string{content.Media.Link, content.Media.Filename, content.Media.Text}, []string{got.Media.Link, got.Media.Filename, got.Media.Text})
		}
		require.Equal(t, m.Origin == messagev1.Origin_ORIGIN_HUMAN, got.Origin == "human")
		at, err := time.Parse(createdAtLayout, got.CreatedAt)
		require.NoError(t, err)
		require.True(t, at.Equal(m.CreateTime.AsTime()))

		// The bare form is the full one without its last two fields.
		var bare, whole map[string]any
		require.NoError(t, json.Unmarshal(AppendBare(nil, m), &bare))
		require.NoError(t, json.Unmarshal(full, &whole))
		delete(whole, "origin")
		delete(whole, "createdAt")
		require.Equal(t, whole, bare)
	})
}

func TestAppendAllocatesNothing(t *testing.T) {
	room := make([]byte, 0, 4096)
	for _, m := range []*messagev1.Message{text("Olá\n\"x\""), date, buttons, simpleList, sectionList, media} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			Append(room, m)
			AppendBare(room, m)
		}))
	}
}
