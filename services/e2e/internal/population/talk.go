package population

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// What is said and what happens.
var (
	asked = []string{
		"oi", "bom dia", "quero a segunda via do boleto", "meu pedido ainda não chegou, o que aconteceu?", "sim", "não", "falar com atendente",
		"qual é o horário de funcionamento da loja do centro?", "obrigada!", "preciso trocar um produto que veio com defeito",
	}
	answers = []string{
		"Olá! Eu sou o assistente virtual. Em que posso ajudar?", "Só um instante, por favor. Estou consultando o seu cadastro.",
		"Encontrei o seu pedido: ele saiu para entrega hoje e deve chegar até as 18 horas. Posso ajudar em mais alguma coisa?",
		"Não entendi. Você pode escolher uma destas opções: 1. Segunda via 2. Pedidos 3. Trocas 4. Falar com uma pessoa",
		"Para continuar, informe o seu CPF, só os números.", "Pronto! A segunda via foi enviada para o seu e-mail.",
	}
	eventNames = []string{"encerramento", "transbordo", "avaliacao", "segunda_via", "troca", "cadastro", "agendamento", "reclamacao"}
	eventParts = []share[int64]{{0.5, 1}, {0.2, 2}, {0.15, 3}, {0.06, 4}, {0.04, 5}, {0.03, 6}, {0.019, 7}, {0.001, 8}}
)

// talk makes the turns of attendances that are open together, one of each at a time, and closes them.
func (m *maker) talk(ctx context.Context, open []*attendance) error {
	for said, more := 0, true; more; said++ {
		more = false
		for _, a := range open {
			if said >= a.turns {
				continue
			}
			more = true
			if err := m.say(ctx, a, said); err != nil {
				return err
			}
		}
	}
	for _, a := range open {
		if err := m.happen(ctx, a); err != nil {
			return err
		}
		var finish any
		if a.finished {
			finish = a.at.Add(time.Duration(a.turns) * 40 * time.Second).UnixMicro()
		}
		if err := m.to.progress(ctx, m.Instance, a.id, a.interactions, a.bytes, finish); err != nil {
			return err
		}
	}
	return nil
}

// say makes one turn: what the person said and what was answered; of the older system, all of it.
func (m *maker) say(ctx context.Context, a *attendance, said int) error {
	m.turns++
	pairs, id := 1, identifier(a.at.Add(time.Duration(said)*40*time.Second), 4, int64(m.turns))
	if a.external != nil {
		pairs, id = max(1, m.Items/2), "import."+identifier(a.at, 2, a.id)
	}
	items := make([]*contactsv1.HistoryItem, 0, 2*pairs)
	for n := range pairs {
		at := a.at.Add(time.Duration(said+n) * 40 * time.Second).Truncate(time.Millisecond)
		items = append(items, item("user", at, asked[m.random.IntN(len(asked))]),
			item("bot", at.Add(700*time.Millisecond), answers[m.random.IntN(len(answers))]))
	}
	encoded, err := proto.Marshal(&contactsv1.Attendance{History: items})
	if err != nil {
		return fmt.Errorf("encode history: %w", err)
	}
	a.interactions += int64(pairs)
	a.bytes += int64(len(encoded))
	m.total.Turns++
	m.total.Items += int64(len(items))
	return m.to.turn(ctx, m.Instance, id, a.id, encoded)
}

func item(sender string, at time.Time, text string) *contactsv1.HistoryItem {
	message := &messagev1.Message{
		CreateTime: timestamppb.New(at), Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}},
	}
	if sender == "bot" {
		message.Origin = messagev1.Origin_ORIGIN_BOT
	}
	return &contactsv1.HistoryItem{Time: timestamppb.New(at), Sender: sender, Messages: []*messagev1.Message{message}}
}

// happen makes the events of an attendance: none, one or two.
func (m *maker) happen(ctx context.Context, a *attendance) error {
	for range m.random.IntN(3) {
		m.events++
		m.total.Events++
		var external any
		if a.external != nil {
			external = fmt.Sprintf("%s-%d", a.external, m.events)
		}
		kind := pick(m.random, eventParts)
		err := m.to.add(ctx, events, m.Instance, m.events, a.id, a.assistant, kind, external, nil, nil,
			`{"skill":"geral","passo":"`+eventNames[kind-1]+`"}`, a.at.Add(time.Duration(a.turns)*30*time.Second).Truncate(time.Millisecond).UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}
