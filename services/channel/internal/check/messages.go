package check

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// typed is a message and the check that it is for.
type typed struct {
	kind    Kind
	message *messagev1.Message
}

// messages are one of each type, in the language of the documented examples.
func (a *attempt) messages(now time.Time) []typed {
	options := []*messagev1.Option{
		{Label: "Opção 1", Description: "Descrição da opção", Value: "index0"}, {Label: "Opção 2", Value: "index1"},
	}
	types := []typed{
		{Text, plain("Mensagem de teste.")},
		{Date, &messagev1.Message{Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: "Teste: selecione uma data"}}}},
		{Buttons, &messagev1.Message{Msgid: a.IDs.New(), Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
			Text: "Teste: escolha uma opção", Options: options,
		}}}},
		{List, &messagev1.Message{Msgid: a.IDs.New(), Content: &messagev1.Message_List{List: &messagev1.List{
			Text: "Teste: selecione um item", Title: "Selecionar", Sections: []*messagev1.Section{{Items: options}},
		}}}},
		{Media, &messagev1.Message{Content: &messagev1.Message_Media{Media: &messagev1.Media{
			Kind: messagev1.Media_KIND_IMAGE, Link: "https://example.com/imagem.png", Filename: "imagem.png", Text: "Teste: legenda",
		}}}},
	}
	for _, one := range types {
		one.message.CreateTime = timestamppb.New(now)
	}
	return types
}

func plain(words string) *messagev1.Message {
	return &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}}
}

// body is what the webhook gets: of a person, and a conversation, that there
// are not.
func (a *attempt) body(m *messagev1.Message) []byte {
	if m.GetCreateTime() == nil {
		m.CreateTime = timestamppb.New(a.began)
	}
	body := append([]byte(nil), `{"contactId":"`+a.contactID+`","interactionId":"`+a.interactionID+`","messages":[`...)
	body = messagejson.Append(body, m)
	if a.target.Test {
		return append(body, `],"debug":{"agentVersion":0,"node":"check","intent":null,"confidence":0,"durationMs":0,"traceId":null}}`...)
	}
	return append(body, `],"debug":null}`...)
}
