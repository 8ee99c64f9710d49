package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// common are the words that messages have most often.
var common = strings.Fields(`de que o a quero meu pedido nao para com uma por favor entrega boleto segunda via atraso cancelar troca produto
endereco cartao pagamento prazo nota fiscal loja cliente atendimento telefone email senha acesso conta plano contrato fatura vencimento
desconto cupom frete rastreio codigo transportadora devolucao reembolso garantia defeito tecnico agendar visita horario sabado domingo
reuniao amanha ontem hoje semana mes ano obrigado bom dia boa tarde noite ola oi tudo bem ajuda duvida informacao problema resolver
solicitar confirmar alterar atualizar cadastro documento cpf comprovante residencia assinatura renovar suspender ativar bloquear chip
internet velocidade fibra modem instalacao cobertura sinal queda oscilacao protocolo ouvidoria reclamacao elogio sugestao pesquisa`)

// BenchmarkSearch looks texts up among a million messages (PROSA_BENCH_MESSAGES says how many), by the index and by reading all of them
// where they are kept, and reports how many times quicker the index is. Of 25 instances one has half of the messages.
func BenchmarkSearch(b *testing.B) {
	messages := 1_000_000
	if text := os.Getenv("PROSA_BENCH_MESSAGES"); text != "" {
		var err error
		messages, err = strconv.Atoi(text)
		require.NoError(b, err)
	}
	for _, dialect := range []sqldb.Dialect{sqldb.SQLite, sqldb.Postgres} {
		b.Run(dialect.String(), func(b *testing.B) {
			db := testkit.Open(b, testkit.Options(b, dialect, Migrations(), "agent"))
			s := New(db)
			began := time.Now() //nolint:forbidigo // of a benchmark
			fillSearch(b, db, messages)
			b.Logf("%d messages in %v", messages, time.Since(began)) //nolint:forbidigo // of a benchmark
			for _, c := range []struct{ name, text, instance string }{
				{"rare", "protocolo zyx77", "big"}, {"phrase", "segunda via", "big"}, {"part", "ansporta", "big"}, {"small", "segunda via", "small07"},
				{"nothing", "qwertyuiop", "big"},
			} {
				b.Run(c.name, func(b *testing.B) { compareSearch(b, s, c.instance, c.text) })
			}
		})
	}
}

func compareSearch(b *testing.B, s *Store, instance, text string) {
	filter := &ConversationFilter{Instance: instance, Search: &Search{Text: text, Messages: true}}
	now := time.Now //nolint:forbidigo // of a benchmark
	var index, scan time.Duration
	var found, scanned int64
	for b.Loop() {
		began := now()
		var err error
		_, found, err = s.FirstConversations(b.Context(), filter, 26)
		require.NoError(b, err)
		index += now().Sub(began)
		began = now()
		scanned = scanSearch(b, s.db, instance, text)
		scan += now().Sub(began)
	}
	require.Equal(b, scanned, found)
	b.ReportMetric(float64(found), "found")
	b.ReportMetric(float64(index.Microseconds())/1000/float64(b.N), "ms/search")
	b.ReportMetric(float64(scan.Microseconds())/1000/float64(b.N), "ms/scan")
	b.ReportMetric(float64(scan)/float64(index), "times")
}

// scanSearch counts the conversations that have a text by reading the texts of all messages, and no more than these.
func scanSearch(b *testing.B, db *sqldb.DB, instance, text string) (n int64) {
	b.Helper()
	err := db.Write(b.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		query := `SELECT count(DISTINCT c.id >> 17) FROM search_text_content c
WHERE instr(c.c0, $2) > 0 AND (SELECT instance FROM search_conversation WHERE number = c.id >> 17) = $1`
		if db.Dialect() == sqldb.Postgres {
			for _, setting := range []string{`SET LOCAL statement_timeout = 0`, `SET LOCAL enable_indexscan = off`, `SET LOCAL enable_bitmapscan = off`} {
				if _, err := tx.ExecContext(ctx, setting); err != nil {
					return err
				}
			}
			query = `SELECT count(DISTINCT conversation_id) FROM search_text WHERE strpos(text, $2) > 0 AND instance = $1`
		}
		return tx.QueryRowContext(ctx, query, instance, text).Scan(&n)
	})
	require.NoError(b, err)
	return n
}

// vocabulary are words, the common ones first.
func vocabulary(random *rand.Rand, size int) []string {
	words := append([]string(nil), common...)
	for len(words) < size {
		var word strings.Builder
		for range 2 + random.IntN(3) {
			word.WriteByte("bcdfglmnprstv"[random.IntN(13)])
			word.WriteByte("aeiou"[random.IntN(5)])
			if random.IntN(4) == 0 {
				word.WriteByte("rsnl"[random.IntN(4)])
			}
		}
		words = append(words, word.String())
	}
	return words
}

// fillSearch puts messages into the index, two a turn and ten turns a conversation, without their turns.
func fillSearch(b *testing.B, db *sqldb.DB, messages int) {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	words := vocabulary(random, 10_000)
	// As in what people say, the word of a rank comes about as often as one over its rank.
	rank := rand.NewZipf(random, 1.05, 8, uint64(len(words)-1))
	say := func(n int) string {
		said := make([]string, n)
		for i := range said {
			said[i] = words[rank.Uint64()]
		}
		return strings.Join(said, " ")
	}
	const turns = 10
	conversations := messages / (2 * turns)
	const batch = 250
	if db.Dialect() == sqldb.Postgres {
		_, err := db.Exec1(b.Context(), `DROP INDEX search_text_grams`)
		require.NoError(b, err)
	}
	for from := 0; from < conversations; from += batch {
		require.NoError(b, db.Write(b.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			var rows []sqliteWords
			var indexedRows []indexed
			for i := from; i < min(from+batch, conversations); i++ {
				instance := "big"
				if i%2 == 1 {
					instance = fmt.Sprintf("small%02d", i/2%24)
				}
				id := fmt.Sprintf("66a1b2c3d4e5f607%08d", i)
				_, err := tx.ExecContext(ctx, `INSERT INTO chat_conversation (instance, id, agent_id, identifier, source, head, create_time)
VALUES ($1, $2, 'a', $2, 'api_channel', $2, $3)`, instance, id, int64(i)*1000)
				if err != nil {
					return err
				}
				var number int64
				if db.Dialect() == sqldb.SQLite {
					if number, _, err = (sqliteIndex{}).number(ctx, tx, instance, id); err != nil {
						return err
					}
				}
				for turn := int64(1); turn <= turns; turn++ {
					text := say(6) + "\x1e" + say(12)
					if i%10_000 == 4 && turn == 5 {
						text += " protocolo zyx77"
					}
					rows = append(rows, sqliteWords{number<<turnBits | turn, instance, text})
					indexedRows = append(indexedRows, newIndexed(instance, id, turn, text))
				}
			}
			if db.Dialect() == sqldb.SQLite {
				return sqliteIndex{}.put(ctx, tx, rows...)
			}
			list, err := json.Marshal(indexedRows)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, insertIndexed, string(list))
			return err
		}))
	}
	if db.Dialect() == sqldb.Postgres {
		require.NoError(b, db.Write(b.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			for _, statement := range []string{
				`SET LOCAL statement_timeout = 0`, `SET LOCAL maintenance_work_mem = '256MB'`, `CREATE INDEX search_text_grams ON search_text USING gin (grams)`,
				`ANALYZE search_text`, `ANALYZE chat_conversation`,
			} {
				if _, err := tx.ExecContext(ctx, statement); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}
