package chat

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

func textOf(text string) *messagev1.Message {
	return &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}}
}

func TestTextOfMessages(t *testing.T) {
	label := "Papelaria"
	for want, m := range map[string]*messagev1.Message{
		"Olá\nJoão": textOf("Olá\nJoão"),
		"":          {},
		"Quando?":   {Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: "Quando?"}}},
		"Como?\n1. Sim\n2. Não": {Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
			Text: "Como?", Options: []*messagev1.Option{{Label: "Sim", Value: "index0"}, {Label: "Não", Value: "index1"}},
		}}},
		"Escolha:\nPapelaria\n1. Caderno: 96 folhas\n2. Caneta\n3. Livro": {Content: &messagev1.Message_List{List: &messagev1.List{
			Text: "Escolha:", Title: "Selecionar", Sections: []*messagev1.Section{
				{Label: &label, Items: []*messagev1.Option{{Label: "Caderno", Description: "96 folhas"}, {Label: "Caneta"}}},
				{Items: []*messagev1.Option{{Label: "Livro"}}},
			},
		}}},
		"Onde está\nmapa.png\nhttps://example.com/mapa.png": {Content: &messagev1.Message_Media{Media: &messagev1.Media{
			Link: "https://example.com/mapa.png", Filename: "mapa.png", Text: "Onde está",
		}}},
		"https://example.com/s": {Content: &messagev1.Message_Media{Media: &messagev1.Media{Link: "https://example.com/s"}}},
	} {
		require.Equal(t, want, Text(m))
	}
}

// A stored answer replays what was streamed, whatever the messages and the pieces; and every place of it is found again, also by
// somebody who got other pieces.
func TestReplayIsTheStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.StringMatching(`[a-zç\n ]{1,8}`)
		s := newScript()
		var messages []*messagev1.Message
		for range rapid.IntRange(0, 4).Draw(t, "messages") {
			pieces := rapid.SliceOfN(words, 0, 4).Draw(t, "pieces")
			whole := strings.Join(pieces, "")
			streamed := rapid.IntRange(0, len(pieces)).Draw(t, "streamed")
			for _, piece := range pieces[:streamed] {
				s.streamed = true
				s.add(piece)
			}
			m := textOf(whole)
			if whole == "" && rapid.Bool().Draw(t, "menu") {
				m = &messagev1.Message{Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
					Text: "?", Options: []*messagev1.Option{{Label: "a"}},
				}}}
			}
			require.NoError(t, s.close(m))
			messages = append(messages, m)
		}
		stored := &agentv1.RunTurnResponse{Messages: messages, Pieces: s.pieces()}
		s.finish(&agentv1.ChatDone{Id: "m1", Messages: messages})
		again := replay("m1", stored)
		require.Len(t, again.events, len(s.events))
		var said strings.Builder
		for i := range s.events {
			require.Equal(t, s.events[i].at, again.events[i].at)
			require.Equal(t, s.events[i].text, again.events[i].text)
			require.Equal(t, s.events[i].message, again.events[i].message)
			said.WriteString(s.events[i].text)
			rest, found := again.after(s.events[i].at)
			require.Equal(t, foundHere, found)
			require.Len(t, rest, len(s.events)-i-1)
		}
		var texts []string
		for _, m := range messages {
			if Text(m) != "" {
				texts = append(texts, Text(m))
			}
		}
		require.Equal(t, strings.Join(texts, "\n\n"), said.String())

		// Without its pieces, and with pieces of something else, the text is the same, and each place in it is found.
		for _, pieces := range [][]uint32{nil, {1, 1, 1}, {1000}, {0}} {
			stored.Pieces = pieces
			other := replay("m1", stored)
			require.Equal(t, s.end, other.end)
			for i := range s.events {
				rest, found := other.after(s.events[i].at)
				require.Equal(t, foundHere, found)
				var left, want strings.Builder
				for j := range rest {
					left.WriteString(rest[j].text)
				}
				for j := range s.events[i+1:] {
					want.WriteString(s.events[i+1+j].text)
				}
				require.Equal(t, want.String(), left.String())
			}
		}
	})
}

func TestPlacesThatAnAnswerDoesNotHave(t *testing.T) {
	s := replay("m1", &agentv1.RunTurnResponse{Messages: []*messagev1.Message{textOf("ação")}})
	inside := Beginning().after("aç"[:2]) // in the middle of a character
	_, found := s.after(inside)
	require.Equal(t, foundDiverged, found)
	events, found := s.after(Beginning().after("aç"))
	require.Equal(t, foundHere, found)
	require.Equal(t, "ão", events[0].text)
	_, found = s.after(Beginning().after("b"))
	require.Equal(t, foundDiverged, found)
	_, found = s.after(Place{size: s.end.size + 1})
	require.Equal(t, foundBeyond, found)
	_, found = s.after(Place{size: s.end.size})
	require.Equal(t, foundDiverged, found)
	require.ErrorIs(t, func() error { s := newScript(); s.add("um "); return s.close(textOf("dois")) }(), errMismatch)
}

func FuzzParsePlace(f *testing.F) {
	for _, id := range []string{"", "0-cbf29ce484222325", "17-9f86d081884c7d65", "-", "1-", "+1-0000000000000000", "01-0000000000000000", "1-000000000000000A"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		place, ok := ParsePlace(id)
		if !ok || id == "" {
			return
		}
		require.Equal(t, id, place.String(), "each place has one name")
	})
}
