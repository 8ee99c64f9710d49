package messagejson

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

func TestBotOutputIsTheDocumentedForm(t *testing.T) {
	for name, test := range map[string]struct {
		message *messagev1.Message
		want    string
	}{
		"text": {text("Olá!"), `{"type":"text","text":"Olá!"}`},
		"date": {date, `{"type":"date","text":"Selecione uma data"}`},
		"buttons": {buttons, `{"type":"select","text":"Escolha uma opção:","payload":{"pick":"Escolha uma opção:","options":` +
			`[{"title":"Opção 1","value":"index0"},{"title":"Opção 2","value":"index1"}]}}`},
		"list": {simpleList, `{"type":"select","text":"Selecione um item:","payload":{"pick":"Selecione um item:","options":` +
			`[{"title":"Item 1","value":"index0"},{"title":"Item 2","value":"index1"}]}}`},
		"list with sections": {sectionList, `{"type":"select","text":"Selecione um item:","payload":{"pick":"Selecione um item:","options":` +
			`[{"title":"Item 1.1","value":"section0-index0"},{"title":"Item 1.2","value":"section0-index1"},` +
			`{"title":"Item 2.1","value":"section1-index0"}]}}`},
		"media": {media, `{"type":"media","media":{"type":"image","link":"https://example.com/imagem.png","filename":"imagem.png","text":"Legenda opcional"}}`},
		"media without words": {
			&messagev1.Message{Content: &messagev1.Message_Media{Media: &messagev1.Media{Kind: messagev1.Media_KIND_STICKER, Link: "https://example.com/s"}}},
			`{"type":"media","media":{"type":"sticker","link":"https://example.com/s","filename":"","text":""}}`,
		},
		"no content": {&messagev1.Message{}, `{"type":"text","text":""}`},
		"no message": {nil, `{"type":"text","text":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, string(appendBotOutput(nil, BotOutput(test.message))))
		})
	}
}

func TestAppendBotAnswer(t *testing.T) {
	answer := &channelv1.BotAnswer{Identifier: "maria \"m\""}
	require.Equal(t, `{"identifier":"maria \"m\"","output":[]}`, string(AppendBotAnswer(nil, answer)))
	answer.Context = &structpb.Struct{}
	require.Equal(t, `{"identifier":"maria \"m\"","output":[],"context":{}}`, string(AppendBotAnswer(nil, answer)))
	answer.Output = []*channelv1.BotOutput{BotOutput(text("a")), BotOutput(text("b"))}
	require.Equal(t, `"identifier":"maria \"m\"","output":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"context":{}`,
		string(AppendBotAnswerFields(nil, answer)))
}

func TestAppendStruct(t *testing.T) {
	// The same text comes back: names are in order, and there is no white space.
	for _, want := range []string{
		`{}`,
		`{"a":1,"b":"x","c":true,"d":false,"e":null,"f":[],"g":{},"h":[1,[null],{"i":"é<&>"}]}`,
		`{"n":[0,-1,1.5,1e-7,0.000001,100000000000000000000,1e+21,1.7976931348623157e+308,5e-324,9007199254740991]}`,
		`{"":"\u0001\n\"\\","B":1,"a":1,"é":1}`,
	} {
		var s structpb.Struct
		require.NoError(t, s.UnmarshalJSON([]byte(want)))
		require.Equal(t, want, string(AppendStruct(nil, &s)))
	}
	require.Equal(t, `{}`, string(AppendStruct(nil, nil)))
	odd := &structpb.Struct{Fields: map[string]*structpb.Value{
		"a": nil, "b": {}, "c": structpb.NewNumberValue(math.NaN()), "d": structpb.NewNumberValue(math.Inf(-1)), "e": structpb.NewStructValue(nil),
		"f": structpb.NewListValue(nil),
	}}
	require.Equal(t, `{"a":null,"b":null,"c":null,"d":null,"e":{},"f":[]}`, string(AppendStruct(nil, odd)))
}

func FuzzAppendNumber(f *testing.F) {
	for _, number := range []float64{0, math.Copysign(0, -1), 1e-6, 9.9e-7, 1e21, 9.99e20, -1e-9, 1e-10, 1e-100, math.Pi} {
		f.Add(number)
	}
	f.Fuzz(func(t *testing.T, number float64) {
		if math.IsNaN(number) || math.IsInf(number, 0) {
			return
		}
		written := appendNumber(nil, number)
		want, err := json.Marshal(number)
		require.NoError(t, err)
		require.Equal(t, string(want), string(written))
	})
}
