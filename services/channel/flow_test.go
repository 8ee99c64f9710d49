package channel_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestMessagesOfOnePersonAreAnsweredInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create()
		const people, each = 20, 10
		var senders sync.WaitGroup
		for p := range people {
			senders.Go(func() {
				for i := range each {
					r.send(c, fmt.Sprint("p", p), fmt.Sprint(i))
				}
			})
		}
		senders.Wait()
		r.drained()
		r.stop()

		got := r.receiver.await(t, people*each)
		require.Len(t, got, people*each)
		next := map[string]int{}
		for _, h := range got {
			require.NoError(t, h.bad)
			require.Equal(t, "Prosa/1.2.3", h.header.Get("User-Agent"))
			require.Equal(t, "application/json", h.header.Get("Content-Type"))
			for p := range people {
				person := fmt.Sprint("p", p)
				want := fmt.Sprintf(`{"contactId":%q,"interactionId":%q,"messages":[{"type":"text","text":"echo: %d","origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}],"debug":null}`,
					contactOf(person), interactionOf(person), next[person])
				if h.body == want {
					next[person]++
					require.Equal(t, strconv.Itoa(next[person]), h.header.Get("Prosa-Sequence"))
				}
			}
		}
		for p := range people {
			person := fmt.Sprint("p", p)
			require.Equal(t, each, next[person], "first arrivals in order, nothing else")
			require.Len(t, r.agent.texts(person), each)
		}
		require.Zero(t, r.agent.overlaps, "one turn of a person at a time")
	})
}

func TestEveryTypeOfMessageIsWrittenToTheByte(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	c := r.create()
	label := func(s string) *string { return &s }
	option := func(label, description, value string) *messagev1.Option {
		return &messagev1.Option{Label: label, Description: description, Value: value}
	}
	const menu = "64a1b2c3d4e5f6a7b8c9d0ff"
	contents := []*messagev1.Message{
		{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: "Mensagem do bot"}}},
		{Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: "Selecione uma data"}}},
		{Msgid: menu, Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{Text: "Escolha uma opção:", Options: []*messagev1.Option{
			option("Opção 1", "", "index0"), option("Opção 2", "", "index1"),
		}}}},
		{Msgid: menu, Content: &messagev1.Message_List{List: &messagev1.List{Text: "Selecione um item:", Title: "Selecionar", Sections: []*messagev1.Section{
			{Label: label("Seção 1"), Items: []*messagev1.Option{option("Item 1.1", "Descrição", "section0-index0")}},
		}}}},
		{Content: &messagev1.Message_Media{Media: &messagev1.Media{
			Kind: messagev1.Media_KIND_IMAGE, Link: "https://example.com/imagem.png", Filename: "imagem.png", Text: "Legenda opcional",
		}}},
	}
	for _, m := range contents {
		m.Origin, m.CreateTime = messagev1.Origin_ORIGIN_BOT, created
	}
	r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) { return contents, nil })
	r.send(c, "ana", "oi")
	r.drained()

	const tail = `,"origin":"bot","createdAt":"2024-01-15T10:30:00.000Z"}`
	want := []string{
		`{"type":"text","text":"Mensagem do bot"` + tail,
		`{"type":"date","text":"Selecione uma data"` + tail,
		`{"msgid":"` + menu + `","type":"buttons","buttons":{"text":"Escolha uma opção:","options":[{"label":"Opção 1","value":"index0"},{"label":"Opção 2","value":"index1"}]}` + tail,
		`{"msgid":"` + menu + `","type":"list","list":{"text":"Selecione um item:","title":"Selecionar","options":[{"label":"Seção 1","items":[{"label":"Item 1.1","description":"Descrição","value":"section0-index0"}]}]}` + tail,
		`{"type":"media","media":{"type":"image","link":"https://example.com/imagem.png","filename":"imagem.png","text":"Legenda opcional"}` + tail,
	}
	got := r.receiver.await(t, len(want))
	require.Len(t, got, len(want))
	for i, h := range got {
		require.Equal(t, `{"contactId":"`+contactOf("ana")+`","interactionId":"`+interactionOf("ana")+`","messages":[`+want[i]+`],"debug":null}`, h.body)
		require.Equal(t, strconv.Itoa(i+1), h.header.Get("Prosa-Sequence"))
	}
}

func TestTestChannelsShowHowTheAnswerCameAbout(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	c := r.create(func(c *channelv1.Channel) { c.Test = true })
	r.send(c, "ana", "oi")
	got := r.receiver.await(t, 1)
	require.Contains(t, got[0].body,
		`],"debug":{"agentVersion":3,"node":"menu","intent":null,"confidence":0.25,"durationMs":1.5,"traceId":null}}`)
}

func TestAnEmptyAnswerDeliversNothing(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	c := r.create()
	r.agent.set(func(turn *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		if turn.GetText() == "silêncio" {
			return nil, nil
		}
		return []*messagev1.Message{text("aqui")}, nil
	})
	r.send(c, "ana", "silêncio")
	r.send(c, "ana", "oi")
	got := r.receiver.await(t, 1)
	require.Contains(t, got[0].body, "aqui")
	require.Equal(t, "1", got[0].header.Get("Prosa-Sequence"))
}

func TestTheAgentIsGivenTheMessageAsItCame(t *testing.T) {
	r := newRig(t, onSQLite(t))
	c := r.create()
	var got *agentv1.RunTurnRequest
	r.agent.set(func(turn *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		got = turn
		return nil, nil
	})
	request := received(c.GetId(), "joão", " Opção 1 ")
	request.Postback = "index0"
	answer, err := r.inbound.ReceiveMessage(t.Context(), request)
	require.NoError(t, err)
	r.start().drained()
	r.stop()
	require.Equal(t, "acme", got.GetInstance())
	require.Equal(t, agentID, got.GetAgentId())
	require.Equal(t, answer.GetMessageId(), got.GetMessageId())
	require.Equal(t, "api_channel", got.GetSource())
	require.Equal(t, c.GetId(), got.GetEndpointId())
	require.Equal(t, "joão", got.GetIdentifier())
	require.Equal(t, " Opção 1 ", got.GetText())
	require.Equal(t, "index0", got.GetPostback())
	require.WithinDuration(t, time.Now(), got.GetAcceptTime().AsTime(), time.Minute)
}

func TestTurnsCanBeSwitchedOff(t *testing.T) {
	db := onSQLite(t)
	r := newRig(t, db, withConfig(channel.Config{TurnsOff: true})).start()
	c := r.create()
	r.send(c, "ana", "oi")
	r.stop()
	require.EqualValues(t, 1, r.backlog().Messages)
	require.Zero(t, r.agent.count("oi"))
	// Switched on again, the message is answered.
	r.config.TurnsOff = false
	r.build()
	r.start()
	r.receiver.await(t, 1)
}

func TestADeadEndpointBlocksNobodyElse(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{
			DeliveryPool: 4, DeliveriesPerEndpoint: 2, Poll: 20 * time.Millisecond, StopGrace: 50 * time.Millisecond,
		}))
		dead := r.create(func(c *channelv1.Channel) { c.WebhookUrl = r.receiver.URL + "/dead" })
		alive := r.create()
		release := make(chan struct{})
		r.receiver.answer(func(_ int, h hook, w http.ResponseWriter) {
			if h.path == "/dead" {
				<-release
				return
			}
			acknowledge(w)
		})
		defer close(release)
		r.start()
		for i := range 30 {
			r.send(dead, fmt.Sprint("d", i), "oi")
		}
		for i := range 30 {
			r.send(alive, fmt.Sprint("a", i), "oi")
		}
		r.eventually(func() bool { return r.backlog().Deliveries == 30 }, "the living endpoint has everything")
		hooks := r.receiver.await(t, 30)
		atDead := 0
		for _, h := range hooks {
			if h.path == "/dead" {
				atDead++
			}
		}
		require.LessOrEqual(t, atDead, 2, "a dead endpoint has no more than its places")
	})
}
