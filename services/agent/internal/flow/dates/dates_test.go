package dates_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/dates"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	saoPaulo = time.FixedZone("America/Sao_Paulo", -3*3600)
	// Wednesday 14 January 2026, half past ten in the evening in São Paulo, already Thursday in UTC.
	now = time.Date(2026, 1, 15, 1, 30, 0, 0, time.UTC).In(saoPaulo)
)

const refused = "(refused)"

func parse(text string, at time.Time) string {
	day, ok := dates.Parse(text, at)
	if !ok {
		return refused
	}
	return day.Format(time.DateOnly)
}

func TestPhrases(t *testing.T) {
	phrases := map[string]string{
		// Days from today.
		"hoje": "2026-01-14", "HOJE": "2026-01-14", " hoje ": "2026-01-14", "hoje!": "2026-01-14", "hj": "2026-01-14", "hoje mesmo": "2026-01-14",
		"hoje à noite": "2026-01-14", "agora": "2026-01-14", "foi hoje": "2026-01-14",
		"amanhã": "2026-01-15", "Amanha": "2026-01-15", "AMANHÃ": "2026-01-15", "amanhá": "2026-01-15", "amnhã": "2026-01-15", "amanhãa": "2026-01-15",
		"amanhã de manhã": "2026-01-15", "amanhã cedo": "2026-01-15", "amanhã, por favor": "2026-01-15", "pode ser amanhã": "2026-01-15", "a partir": refused,
		"depois de amanhã": "2026-01-16", "depois  de amanha": "2026-01-16", "dia seguinte": "2026-01-15",
		"ontem": "2026-01-13", "foi ontem": "2026-01-13", "ontem à tarde": "2026-01-13", "anteontem": "2026-01-12", "antes de ontem": "2026-01-12",
		// Distances.
		"daqui a 3 dias": "2026-01-17", "daqui 3 dias": "2026-01-17", "daqui a três dias": "2026-01-17", "daqui a tres dias": "2026-01-17",
		"em 3 dias": "2026-01-17", "dentro de 10 dias": "2026-01-24", "daqui a um dia": "2026-01-15", "daqui a quinze dias": "2026-01-29",
		"daqui a vinte e um dias": "2026-02-04", "em duas semanas": "2026-01-28", "daqui a uma semana": "2026-01-21", "em 2 semanas": "2026-01-28",
		"daqui a um mês": "2026-02-14", "em dois meses": "2026-03-14", "daqui a 1 ano": "2027-01-14", "daqui a 9999 anos": refused,
		"3 dias depois": "2026-01-17", "há 3 dias": "2026-01-11", "3 dias atrás": "2026-01-11", "faz uma semana": "2026-01-07",
		"há dois meses": "2025-11-14", "dois anos atrás": "2024-01-14", "há 2 semanas atrás": "2025-12-31", "3 dias": refused, "daqui a pouco": refused,
		// Weeks, months and years.
		"semana que vem": "2026-01-21", "próxima semana": "2026-01-21", "na semana que vem": "2026-01-21", "semana passada": "2026-01-07",
		"mês que vem": "2026-02-14", "próximo mês": "2026-02-14", "no mes que vem": "2026-02-14", "mês passado": "2025-12-14",
		"ano que vem": "2027-01-14", "ano passado": "2025-01-14", "esta semana": refused, "este mês": refused, "semana": refused,
		"fim do mês": "2026-01-31", "final do mês": "2026-01-31", "no fim do mes": "2026-01-31", "fim do mês que vem": "2026-02-28",
		"final do próximo mês": "2026-02-28", "último dia do mês": "2026-01-31", "início do mês": "2026-02-01", "começo do mês que vem": "2026-02-01",
		"primeiro dia do mês que vem": "2026-02-01", "meio do mês": "2026-01-15", "fim do mês passado": "2025-12-31", "fim do ano": "2026-12-31",
		"fim de semana": "2026-01-17", "no fim de semana": "2026-01-17", "próximo fim de semana": "2026-01-24", "fim de semana passado": "2026-01-10",
		"natal": "2026-12-25", "no Natal": "2026-12-25", "véspera de Natal": "2026-12-24", "ano novo": "2027-01-01", "réveillon": "2026-12-31",
		// Weekdays.
		"quarta": "2026-01-14", "quarta-feira": "2026-01-14", "nesta quarta": "2026-01-14", "quinta": "2026-01-15", "quinta feira": "2026-01-15",
		"sexta": "2026-01-16", "na sexta": "2026-01-16", "SEXTA-FEIRA": "2026-01-16", "pra sexta": "2026-01-16", "até sexta": "2026-01-16",
		"essa sexta": "2026-01-16", "nessa sexta-feira": "2026-01-16", "sexta agora": "2026-01-16", "sex": "2026-01-16", "6ª feira": "2026-01-16",
		"sábado": "2026-01-17", "no sabado": "2026-01-17", "sabdo": "2026-01-17", "domingo": "2026-01-18", "dom": "2026-01-18",
		"segunda": "2026-01-19", "2ª-feira": "2026-01-19", "segnda": "2026-01-19", "segunda-feria": refused, "terça": "2026-01-20", "Terca Feira": "2026-01-20",
		"sexta que vem": "2026-01-16", "sexta-feira que vem": "2026-01-16", "na sexta que vem": "2026-01-16", "próxima sexta": "2026-01-16",
		"na próxima sexta-feira": "2026-01-16", "proxima sexta": "2026-01-16", "PRÓXIMA SEXTA": "2026-01-16", "sexta próxima": "2026-01-16",
		"quarta que vem": "2026-01-21", "próxima quarta": "2026-01-21", "próxima segunda": "2026-01-19", "próximo sábado": "2026-01-17",
		"sexta da semana que vem": "2026-01-23", "segunda da próxima semana": "2026-01-19", "domingo da semana que vem": "2026-01-25",
		"terça desta semana": "2026-01-13", "sexta dessa semana": "2026-01-16", "sexta da semana passada": "2026-01-09",
		"sexta passada": "2026-01-09", "última sexta": "2026-01-09", "na última quarta": "2026-01-07", "quarta passada": "2026-01-07",
		"sexta retrasada": "2026-01-02", "próxima sexta passada": refused, "sexta que": refused, "feira": refused, "oitava": refused,
		"sexta, 16/01": "2026-01-16", "sexta-feira 16 de janeiro": "2026-01-16", "sexta dia 16": "2026-01-16", "sexta, 17/01": refused, "sexta 13": refused,
		// A day of a month.
		"dia 15": "2026-01-15", "dia 14": "2026-01-14", "dia 13": "2026-02-13", "dia 31": "2026-01-31", "no dia 20": "2026-01-20", "dia quinze": "2026-01-15",
		"dia vinte e um": "2026-01-21", "próximo dia 10": "2026-02-10", "dia 10 que vem": "2026-02-10", "dia 10 passado": "2026-01-10", "último dia 20": "2025-12-20",
		"dia 1º": "2026-02-01", "dia primeiro": "2026-02-01", "dia 32": refused, "dia 0": refused, "15": refused, "quinze": refused,
		"dia 10 do mês que vem": "2026-02-10", "dia 10 do próximo mês": "2026-02-10", "10 deste mês": "2026-01-10", "dia 5 do mês passado": "2025-12-05",
		"dia 31 do mês que vem": refused,
		// Day and month.
		"15/01": "2026-01-15", "14/01": "2026-01-14", "13/01": "2027-01-13", "15/1": "2026-01-15", " 15/1 ": "2026-01-15", "15-01": "2026-01-15",
		"15.01": "2026-01-15", "15 / 01": "2026-01-15", "15 01": "2026-01-15", "dia 15/01": "2026-01-15", "no dia 15/01.": "2026-01-15",
		"29/02": "2028-02-29", "31/02": refused, "31/12": "2026-12-31", "15/13": refused, "00/01": refused, "15/00": refused,
		"15 de janeiro": "2026-01-15", "15 de Janeiro": "2026-01-15", "15 janeiro": "2026-01-15", "15 de jan": "2026-01-15", "15/jan": "2026-01-15",
		"15 de jan.": "2026-01-15", "15 de janero": "2026-01-15", "15 de setmbro": "2026-09-15", "15 de jumho": refused, "1º de maio": "2026-05-01",
		"1o de maio": "2026-05-01", "primeiro de maio": "2026-05-01", "dez de março": "2026-03-10", "trinta e um de março": "2026-03-31",
		"15 do 1": "2026-01-15", "dia 10 do 3": "2026-03-10", "31 de abril": refused, "10 de foo": refused, "13 de janeiro": "2027-01-13",
		"10 de dezembro passado": "2025-12-10", "10 de março do ano que vem": "2027-03-10", "10 de março do ano passado": "2025-03-10",
		"10 de março deste ano": "2026-03-10", "20/12 do ano passado": "2025-12-20",
		// With a year.
		"15/01/2026": "2026-01-15", "5/1/2026": "2026-01-05", "15-01-2026": "2026-01-15", "15.01.2026": "2026-01-15", "15 01 2026": "2026-01-15",
		"15012026": "2026-01-15", "15/1/27": "2027-01-15", "15/01/85": "1985-01-15", "15/01/45": "2045-01-15", "15/01/46": "1946-01-15", "15/01/00": "2000-01-15",
		"31/02/2026": refused, "31/04/2026": refused, "15/13/2026": refused, "15/01/0000": refused, "15/01/202": refused, "15/01/20266": refused,
		"15 de jan de 2027": "2027-01-15", "15 de janeiro de 2027": "2027-01-15", "15 jan 2027": "2027-01-15", "15-jan-2027": "2027-01-15", "15/jan/27": "2027-01-15",
		"10 janeiro 2027": "2027-01-10", "dia 10 de março de 2025": "2025-03-10", "comprei dia 10 de março de 2025": "2025-03-10", "29/02/2024": "2024-02-29",
		"29/02/2025": refused, "15/01 de 2027": "2027-01-15", "quinta-feira, 15 de janeiro de 2026": "2026-01-15", "sexta-feira, 15 de janeiro de 2026": refused,
		// As machines write it.
		"2026-01-15": "2026-01-15", "2024-02-29": "2024-02-29", "2026-02-29": refused, "2026-13-01": refused, "0000-01-01": refused, "0001-01-01": "0001-01-01",
		"9999-12-31": "9999-12-31", "10000-01-01": refused, "2026/01/15": "2026-01-15", "2026.1.5": "2026-01-05",
		"2026-01-15T00:00:00.000Z": "2026-01-15", "2026-01-15T23:00:00-03:00": "2026-01-15",
		// No day at all.
		"": refused, " ": refused, "não sei": refused, "15/01/2026 10:00": refused, "às 10h": refused, "de": refused, "que vem": refused, "1/2/3/4": refused,
		"11987654321": refused, "111.444.777-35": refused, "１５/０１": refused, strings.Repeat("a ", 60) + "hoje": refused,
	}
	understood := 0
	for text, want := range phrases {
		require.Equal(t, want, parse(text, now), "%q", text)
		if want != refused {
			understood++
		}
	}
	require.Greater(t, understood, 200)
}

// The same phrases on other days.
func TestPhrasesOfOtherDays(t *testing.T) {
	for _, c := range []struct{ today, text, want string }{
		{"2026-01-18", "fim de semana", "2026-01-18"}, // a Sunday
		{"2026-01-18", "sexta desta semana", "2026-01-16"},
		{"2026-01-18", "segunda da semana que vem", "2026-01-19"},
		{"2026-01-17", "fim de semana", "2026-01-17"}, // a Saturday
		{"2026-01-19", "domingo desta semana", "2026-01-25"},
		{"2026-01-31", "mês que vem", "2026-02-28"},
		{"2028-01-31", "mês que vem", "2028-02-29"},
		{"2026-03-31", "mês passado", "2026-02-28"},
		{"2028-02-29", "ano que vem", "2029-02-28"},
		{"2026-12-31", "amanhã", "2027-01-01"},
		{"2026-12-31", "mês que vem", "2027-01-31"},
		{"2026-01-31", "fim do mês", "2026-01-31"},
		{"2026-02-01", "início do mês", "2026-02-01"},
		{"2026-02-02", "início do mês", "2026-03-01"},
		{"2026-02-16", "meio do mês", "2026-03-15"},
		{"2026-02-01", "dia 31", "2026-03-31"},
		{"2026-12-26", "natal", "2027-12-25"},
		{"2026-03-01", "29/02", "2028-02-29"},
		{"2096-03-01", "29/02", "2104-02-29"}, // 2100 has none
		{"2028-02-29", "29/02", "2028-02-29"},
		{"2028-02-29", "29/02 passado", "2024-02-29"},
		{"2099-06-01", "15/01/18", "2118-01-15"},
		{"2099-06-01", "15/01/19", "2019-01-15"},
		{"2001-06-01", "15/01/99", "1999-01-15"},
	} {
		today, err := time.Parse(time.DateOnly, c.today)
		require.NoError(t, err)
		require.Equal(t, c.want, parse(c.text, today), "%q on %s", c.text, c.today)
	}
}

func TestTodayIsADayOfTheZone(t *testing.T) {
	require.Equal(t, "2026-01-14", parse("hoje", now))
	require.Equal(t, "2026-01-15", parse("hoje", now.UTC()))
	// The night in which São Paulo once had no midnight.
	zone, err := time.LoadLocation("America/Sao_Paulo")
	require.NoError(t, err)
	require.Equal(t, "2018-11-04", parse("amanhã", time.Date(2018, 11, 3, 23, 30, 0, 0, zone)))
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"15/01", "sexta que vem", "29/02/2024", "1º de maio", "2026-01-15T00:00:00Z", "daqui a 3 dias", "dia 31 do mês que vem", "fim do ano",
		"vinte e um de abril", "sexta, 16/01", "15 01 99", "há 9999 anos",
	} {
		f.Add(seed, now.Unix())
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		at := time.Unix(seconds%(1<<36), 0).In(saoPaulo)
		day, ok := dates.Parse(text, at)
		if !ok {
			return
		}
		require.Equal(t, day, day.Truncate(24*time.Hour))
		again, ok := dates.Parse(day.Format(time.DateOnly), at)
		require.True(t, ok)
		require.Equal(t, day, again)
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		dates.Parse("sexta da semana que vem", now)
	}
}
