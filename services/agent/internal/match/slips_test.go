package match_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/match"
)

// Sixty ways of writing in haste: every one has a slip, a missing accent, or a short form.
func TestPhrasesWithSlips(t *testing.T) {
	index, err := match.Build(shop)
	require.NoError(t, err)
	phrases := map[string][]string{
		"order_status": {
			"onde ta meu peddio", "cade meu pediod", "status do pedio", "statis do pedido", "rastrear entrga", "rastreae entrega", "meu pedido nao cegou",
			"meu pedido naum chegou", "qdo chega minha encomenda", "quando chega minha encomeda", "onde esta meu pediddo", "ratrear entrega",
			"ONDE ESTA MEU PEDIDO", "meu pedido ñ chegou",
		},
		"cancel": {
			"canselar meu pedido", "cancela meu peddio", "cancelr a compra", "quero cancelr a compra", "dezistir da compra", "quero cancelar a copra",
			"cancelamneto da compra",
		},
		"invoice": {
			"segunda via do boletto", "2a via do bolto", "segnda via do boleto", "preciso da nota fical", "emitir bolteo", "nao recebi o boleto",
			"precizo da nota fiscal", "nao recebi o bolto",
		},
		"human": {
			"falar com atendnte", "falar com atemdente", "quero fala com uma pesoa", "atendimento umano", "atendimeto humano", "quero falar com um atendete",
			"falar c atendente",
		},
		"return": {
			"trocar um prduto", "devovler produto", "produto veio com defeto", "politica de devolucao", "quero trocar um produtto", "produto com defeitto",
			"devolucao de produto", "trocar o produto c defeto",
		},
		"greeting": {"ola", "OLA", "oi bom dia!!"},
		"address":  {"qual o endereco da loja", "endreço da loja", "qual o enderesso da loja", "onde fika a loja", "endereco da lojja"},
		"hours": {
			"qual o horario de funcionameto", "horario de funcionamento", "q horas abre", "que horas abri", "ate que horas vcs ficam abertos",
			"qual o orario de funcionamento", "horario de funcionanento", "até q horas voces ficam abertos",
		},
	}
	count := 0
	for want, texts := range phrases {
		for _, text := range texts {
			count++
			found, err := index.Intent(t.Context(), text)
			require.NoError(t, err)
			got := "(none)"
			if found.Target >= 0 && found.Confidence >= threshold {
				got = shopIntents[found.Target]
			}
			assert.Equal(t, want, got, "%q, %.2f", text, found.Confidence)
		}
	}
	require.GreaterOrEqual(t, count, 60)
}
