package match_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/agent/internal/match"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// threshold is the default of a definition.
const threshold = 0.6

// shop is what a shop's agent may know; the intents are those of the phrases below.
var (
	shopIntents = []string{"order_status", "cancel", "invoice", "human", "return", "greeting", "address", "hours"}
	shop        = match.Corpus{
		Intents: [][]string{
			{"onde está meu pedido", "status do pedido", "rastrear entrega", "meu pedido não chegou", "quando chega minha encomenda"},
			{"cancelar meu pedido", "quero cancelar a compra", "desistir da compra"},
			{"segunda via do boleto", "preciso da nota fiscal", "emitir boleto", "não recebi o boleto"},
			{"falar com atendente", "quero falar com uma pessoa", "atendimento humano"},
			{"trocar um produto", "devolver produto", "o produto veio com defeito", "política de devolução"},
			{"oi", "olá", "bom dia", "boa tarde", "boa noite"},
			{"qual o endereço da loja", "onde fica a loja"},
			{"qual o horário de funcionamento", "que horas abre", "até que horas vocês ficam abertos"},
		},
	}
)

func TestIntents(t *testing.T) {
	index, err := match.Build(shop)
	require.NoError(t, err)
	for _, c := range []struct{ text, want string }{
		{"onde está meu pedido", "order_status"},
		{"onde esta meu pedido", "order_status"},
		{"ONDE ESTÁ MEU PEDIDO???", "order_status"},
		{"onde ta meu pedido", "order_status"},
		{"cade meu pedido", "order_status"},
		{"oi, bom dia, eu queria saber onde está o meu pedido por favor", "order_status"},
		{"onde esta meu peddio", "order_status"},
		{"onde está meu pedidu", "order_status"},
		{"status do meu pedido", "order_status"},
		{"quero rastrear minha entrega", "order_status"},
		{"rastreio da entrega", "order_status"},
		{"rastreamento", "order_status"},
		{"meus pedidos não chegaram", "order_status"},
		{"meu pedido ainda nao chegou", "order_status"},
		{"quando vai chegar minha encomenda?", "order_status"},
		{"minha emcomenda", "order_status"},
		{"status do pedido 1234567", "order_status"},
		{"o pedido 1234 5678 9012 não chegou", "order_status"},
		{"quero cancelar meu pedido", "cancel"},
		{"cancela meu pedido", "cancel"},
		{"cancelamento da compra", "cancel"},
		{"gostaria de cancelar uma compra", "cancel"},
		{"quero dezistir da compra", "cancel"},
		{"cancelar", "cancel"},
		{"2a via do boleto", "invoice"},
		{"segunda via de boleto", "invoice"},
		{"preciso da nota fical", "invoice"},
		{"nota fiscal", "invoice"},
		{"boleto", "invoice"},
		{"nao recebi o boletto", "invoice"},
		{"falar com um atendente", "human"},
		{"quero falar com atendente", "human"},
		{"falar com atemdente", "human"},
		{"atendente", "human"},
		{"quero atendimento humano", "human"},
		{"falar com alguma pessoa", "human"},
		{"trocar produto", "return"},
		{"quero trocar o produto", "return"},
		{"troca de produtos", "return"},
		{"como faço uma devolucao", "return"},
		{"devoluções", "return"},
		{"meu produto chegou com defeito", "return"},
		{"produto com defeto", "return"},
		{"oi", "greeting"},
		{"Olá!", "greeting"},
		{"bom dia", "greeting"},
		{"oi boa tarde", "greeting"},
		{"endereco da loja", "address"},
		{"qual é o endereço de vocês", "address"},
		{"onde fica a loja?", "address"},
		{"onde voces ficam", "address"},
		{"horário de funcionamento", "hours"},
		{"qual o horario de funcinamento", "hours"},
		{"que horas vcs abrem", "hours"},
		{"ate que horas ficam abertos", "hours"},
		{"horarios", "hours"},
		// What nothing was written for.
		{"qual a capital da frança", "(none)"},
		{"você gosta de futebol", "(none)"},
		{"vocês vendem bicicletas", "(none)"},
		{"quanto custa", "(none)"},
		{"onde", "(none)"},
		{"meu", "(none)"},
		{"não", "(none)"},
		{"asdfgh", "(none)"},
		{"pedido produto boleto loja", "(none)"},
		{"👍", "(none)"},
		{"...", "(none)"},
		{"", "(none)"},
		{"12345", "(none)"},
		{"quero comprar um produto", "(none)"},
		{"a loja vende sapatos", "(none)"},
		{"pedido de emprego", "(none)"},
		{"me conta uma piada", "(none)"},
		{"qual a nota do filme", "(none)"},
		{"boa sorte", "(none)"},
		{"meu nome é Ana", "(none)"},
		{"trabalhe conosco", "(none)"},
		{"o cancelamento do show de ontem foi horrível e ninguém avisou", "(none)"},
	} {
		found, err := index.Intent(t.Context(), c.text)
		require.NoError(t, err)
		got := "(none)"
		if found.Target >= 0 && found.Confidence >= threshold {
			got = shopIntents[found.Target]
		}
		t.Logf("%-70q %-14s %.2f", c.text, got, found.Confidence)
		assert.Equal(t, c.want, got, "%q, %.2f", c.text, found.Confidence)
	}
}

func TestAnswersAndPassages(t *testing.T) {
	long := strings.Repeat("Esta frase não diz nada a ninguém. ", 40)
	index, err := match.Build(match.Corpus{
		Answers: [][]string{
			{"qual o horário de funcionamento", "que horas abre"},
			{"quais as formas de pagamento", "aceita pix", "aceita cartão de crédito"},
			{"tem estacionamento"},
		},
		Passages: []match.Passage{
			{Title: "Política de troca", Text: "Você pode trocar um produto em até 30 dias após a compra. Guarde a nota fiscal."},
			{Title: "Frete", Text: "O frete é grátis para compras acima de R$ 200. O prazo de entrega é de 5 dias úteis."},
			{Title: "Garantia", Text: long + "\n\nA garantia dos eletrônicos é de doze meses."},
		},
	})
	require.NoError(t, err)
	for _, c := range []struct {
		text            string
		answer, passage int // -1: none
	}{
		{"que horas vcs abrem?", 0, -1},
		{"qual horario de funcionamneto", 0, -1},
		{"vocês aceitam PIX", 1, -1},
		{"aceita cartao", 1, -1},
		{"formas de pagameto", 1, -1},
		{"vcs tem estacionamento ai?", 2, -1},
		{"posso trocar um produto", -1, 0},
		{"qual a politica de trocas", -1, 0},
		{"preciso da nota fiscal", -1, 0},
		{"quanto é o frete", -1, 1},
		{"frete gratis", -1, 1},
		{"prazo de entrega", -1, 1},
		{"garantia de eletronicos", -1, 2},
		{"qual a capital da França", -1, -1},
		{"oi", -1, -1},
		{"", -1, -1},
	} {
		answer, err := index.Answer(t.Context(), c.text)
		require.NoError(t, err)
		assert.Equal(t, c.answer, above(answer), "%q, %.2f", c.text, answer.Confidence)
		passage, shown, err := index.Passage(t.Context(), c.text)
		require.NoError(t, err)
		assert.Equal(t, c.passage, above(passage), "%q, %.2f", c.text, passage.Confidence)
		assert.LessOrEqual(t, len(shown), 1000)
		intent, err := index.Intent(t.Context(), c.text)
		require.NoError(t, err)
		assert.Equal(t, match.Match{Target: -1}, intent, "there are no intents")
		if c.passage == 2 {
			assert.Contains(t, shown, "A garantia dos eletrônicos é de doze meses.")
		}
	}
}

func above(m match.Match) int {
	if m.Confidence < threshold {
		return -1
	}
	return m.Target
}

func TestTwoThatFitEquallyAreNone(t *testing.T) {
	index, err := match.Build(match.Corpus{Intents: [][]string{{"cancelar pedido"}, {"rastrear pedido"}, {"trocar o pedido"}}})
	require.NoError(t, err)
	for text, want := range map[string]int{"pedido": -1, "cancelar pedido": 0, "troca de pedidos": 2, "rastrear": 1} {
		found, err := index.Intent(t.Context(), text)
		require.NoError(t, err)
		require.Equal(t, want, found.Target, text)
	}
}

func TestNothingToFindIsNoIndex(t *testing.T) {
	index, err := match.Build(match.Corpus{})
	require.NoError(t, err)
	require.Nil(t, index)
	require.Zero(t, index.Size())
}

// An example of nothing but signs, an intent without examples, a passage of spaces: nothing to find, and nothing breaks.
func TestTextsWithoutWords(t *testing.T) {
	index, err := match.Build(match.Corpus{Intents: [][]string{{"???"}, nil}, Passages: []match.Passage{{Title: "x", Text: " \n "}}})
	require.NoError(t, err)
	found, err := index.Intent(t.Context(), "oi ???")
	require.NoError(t, err)
	require.Equal(t, -1, found.Target)
}

func TestTheContextEndsASearch(t *testing.T) {
	index, err := match.Build(shop)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = index.Intent(ctx, "onde está meu pedido")
	require.ErrorIs(t, err, context.Canceled)
}

// large is a corpus about as large as a definition can be.
func large() match.Corpus {
	var c match.Corpus
	for i := range 500 {
		var examples []string
		for j := range 20 {
			examples = append(examples, fmt.Sprintf("quero falar sobre assunto%d e coisa%d", i, i*20+j))
		}
		c.Intents = append(c.Intents, examples)
	}
	return c
}

// What an index says that it takes decides how many are kept, so it must not be far off.
func TestSizeIsWhatItTakes(t *testing.T) {
	passages := match.Corpus{}
	for i := range 200 {
		passages.Passages = append(passages.Passages, match.Passage{
			Title: fmt.Sprint("Título ", i), Text: strings.Repeat(fmt.Sprintf("O assunto%d tem mais de uma coisa%d a dizer. ", i, i%7), 20),
		})
	}
	few := match.Corpus{Intents: large().Intents[:10]}
	tiny := match.Corpus{Answers: [][]string{{"que horas abre"}}}
	for _, c := range []struct {
		name   string
		corpus match.Corpus
		copies int
	}{{"large", large(), 1}, {"few", few, 32}, {"tiny", tiny, 64}, {"shop", shop, 64}, {"passages", passages, 2}} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools hold outlives the first
		runtime.ReadMemStats(&before)
		indexes := make([]*match.Index, c.copies)
		for i := range indexes {
			var err error
			indexes[i], err = match.Build(c.corpus)
			require.NoError(t, err)
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		taken := (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(c.copies)
		t.Logf("%s: says %d, takes %.0f", c.name, indexes[0].Size(), taken)
		require.Greater(t, float64(indexes[0].Size()), taken/2, c.name)
		require.Less(t, float64(indexes[0].Size()), taken*2, c.name)
		runtime.KeepAlive(indexes)
	}
}

func TestItIsSharedByManyAtOnce(t *testing.T) {
	index, err := match.Build(shop)
	require.NoError(t, err)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 50 {
				found, err := index.Intent(t.Context(), "onde esta meu peddio")
				assert.NoError(t, err)
				assert.Equal(t, 0, found.Target)
			}
		})
	}
	callers.Wait()
}

func FuzzIntent(f *testing.F) {
	index, err := match.Build(shop)
	require.NoError(f, err)
	for _, seed := range []string{"onde está meu pedido", "\xff", "ação ações", "a\u0301\u0301", "漢字", strings.Repeat("x", 3000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, err := index.Intent(t.Context(), text)
		require.NoError(t, err)
		require.True(t, found.Confidence >= 0 && found.Confidence <= 1, found.Confidence)
		again, err := index.Intent(t.Context(), text)
		require.NoError(t, err)
		require.Equal(t, found, again)
	})
}

func BenchmarkIntent(b *testing.B) {
	for name, c := range map[string]match.Corpus{"shop": shop, "large": large()} {
		index, err := match.Build(c)
		require.NoError(b, err)
		for of, text := range map[string]string{
			"exact": "quero falar sobre assunto7", "slip": "onde está meu peddio", "long": strings.Repeat("palavra desconhecida numero ", 300),
		} {
			b.Run(name+"/"+of, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = index.Intent(b.Context(), text)
				}
			})
		}
	}
	b.Run("build/shop", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = match.Build(shop)
		}
	})
	b.Run("build/large", func(b *testing.B) {
		c := large()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = match.Build(c)
		}
	})
}
