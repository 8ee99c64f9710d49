package answer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/answer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	saoPaulo = time.FixedZone("America/Sao_Paulo", -3*3600)
	// Wednesday 14 January 2026 in São Paulo, already Thursday in UTC.
	now = time.Date(2026, 1, 15, 1, 30, 0, 0, time.UTC).In(saoPaulo)
)

const refused = "(refused)"

func normalise(t *testing.T, as, given string, at time.Time) string {
	t.Helper()
	kind, err := answer.Parse(as)
	require.NoError(t, err)
	got, ok := kind.Normalise(given, at)
	if !ok {
		require.Empty(t, got)
		return refused
	}
	return got
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ as, want string }{
		{"cpf", "must be text, number, date, email or regex: …"},
		{"", "must be text, number, date, email or regex: …"},
		{"Text", "must be text, number, date, email or regex: …"},
		{"regex:", "the regular expression is empty"},
		{"regex:  ", "the regular expression is empty"},
		{"regex: (a", "compile regular expression: error parsing regexp: missing closing ): `(a`"},
		{"regex: a)(b", "compile regular expression: error parsing regexp: unexpected ): `a)(b`"},
	} {
		_, err := answer.Parse(c.as)
		require.EqualError(t, err, c.want, c.as)
	}
}

func TestTextAndRegex(t *testing.T) {
	for _, c := range []struct{ as, given, want string }{
		{"text", " Olá  mundo\n", "Olá  mundo"},
		{"text", " \t\n", refused},
		{"text", "", refused},
		{"text", "a\xffb", refused},
		{`regex: \d{5}-?\d{3}`, " 01310-100 ", "01310-100"},
		{`regex: \d{5}-?\d{3}`, "01310-1000", refused},
		{`regex:a|b`, "ab", refused},
		{`regex: ^(?i)sim$`, "SIM", "SIM"},
		{`regex: a*`, "", refused},
	} {
		require.Equal(t, c.want, normalise(t, c.as, c.given, now), "%s %q", c.as, c.given)
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"0", "0"}, {"-0", "0"}, {"-0,00", "0"}, {"007", "7"}, {"+5", "5"}, {"-5", "-5"},
		{"1234", "1234"}, {"1234,56", "1234.56"}, {"1234.56", "1234.56"},
		{"1.234,56", "1234.56"}, {"1.234.567,80", "1234567.8"}, {"1,234.56", "1234.56"}, {"1,234,567", "1234567"},
		{"1.234", "1234"}, {"1.5", "1.5"}, {"1.5000", "1.5"}, {"0.500", "0.5"}, {"1234.567", "1234.567"}, {"1,234", "1.234"},
		{"1.234.567", "1234567"}, {",5", "0.5"}, {".5", "0.5"}, {"R$ 1.500,00", "1500"}, {"R$-2", "-2"}, {"-R$ 2", refused},
		{"12.34.567", refused}, {"1.23,4,5", refused}, {"1234.567,8", refused}, {"1,5.", refused}, {"1,", refused}, {",", refused},
		{"", refused}, {"-", refused}, {"--1", refused}, {"+-1", refused}, {"1e5", refused}, {"1 234", refused}, {"dez", refused},
		{"٣", refused}, {"1,234,56", refused}, {"1..2", refused}, {"1.234.56", refused}, {"1.", refused},
		{strings.Repeat("9", 64), strings.Repeat("9", 64)}, {strings.Repeat("9", 65), refused},
	} {
		require.Equal(t, c.want, normalise(t, "number", c.given, now), "%q", c.given)
	}
}

func TestEmail(t *testing.T) {
	longest := strings.Repeat("a", 64) + "@" + strings.Repeat("b", 254-64-1-4) + ".com"
	for _, c := range []struct{ given, want string }{
		{"Ana.Silva+loja@Example.COM", "ana.silva+loja@example.com"},
		{" ana@example.com ", "ana@example.com"},
		{"Ana <ana@example.com>", refused}, {"<ana@example.com>", refused}, {`"a b"@example.com`, refused},
		{"ana@example.com (casa)", refused}, {"a@b@c", refused}, {"ana", refused}, {"@example.com", refused}, {"ana@", refused},
		{"a@b.com, c@d.com", refused}, {"ana@exa mple.com", refused}, {"a\r\nb@c.com", refused},
		{longest, longest}, {"a" + longest, refused},
	} {
		require.Equal(t, c.want, normalise(t, "email", c.given, now), "%q", c.given)
	}
}

func TestDate(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"2026-01-15", "2026-01-15"}, {"2024-02-29", "2024-02-29"}, {"2026-02-29", refused}, {"2026-13-01", refused},
		{"0000-01-01", refused}, {"0001-01-01", "0001-01-01"}, {"9999-12-31", "9999-12-31"}, {"10000-01-01", refused},
		{"2026-01-15T00:00:00.000Z", "2026-01-15"}, {"2026-01-15T23:00:00-03:00", "2026-01-15"},
		{"15/01/2026", "2026-01-15"}, {"5/1/2026", "2026-01-05"}, {"15-01-2026", "2026-01-15"}, {"15.01.2026", "2026-01-15"},
		{"31/02/2026", refused}, {"31/04/2026", refused}, {"00/01/2026", refused}, {"15/13/2026", refused}, {"15/00/2026", refused},
		{"15/01/26", refused}, {"15/01/0000", refused},
		{"14/01", "2026-01-14"}, {"13/01", "2027-01-13"}, {"15/01", "2026-01-15"}, {"29/02", "2028-02-29"}, {"31/02", refused},
		{"31/12", "2026-12-31"}, {" 15/1 ", "2026-01-15"},
		{"hoje", "2026-01-14"}, {"HOJE", "2026-01-14"}, {"amanhã", "2026-01-15"}, {"Amanha", "2026-01-15"},
		{"depois de amanhã", "2026-01-16"}, {"depois  de amanha", "2026-01-16"}, {"ontem", "2026-01-13"}, {"anteontem", "2026-01-12"},
		{"quarta", "2026-01-14"}, {"quarta-feira", "2026-01-14"}, {"nesta quarta", "2026-01-14"}, {"quinta", "2026-01-15"},
		{"terça", "2026-01-20"}, {"Terca Feira", "2026-01-20"}, {"na sexta", "2026-01-16"}, {"no sábado", "2026-01-17"},
		{"domingo", "2026-01-18"}, {"segunda", "2026-01-19"},
		{"sexta que vem", "2026-01-16"}, {"sexta-feira que vem", "2026-01-16"}, {"quarta que vem", "2026-01-21"},
		{"próxima sexta", "2026-01-16"}, {"na próxima sexta-feira", "2026-01-16"}, {"próximo sábado", "2026-01-17"},
		{"próxima quarta", "2026-01-21"}, {"sexta próxima", "2026-01-16"},
		{"sexta passada", "2026-01-09"}, {"última quarta", "2026-01-07"}, {"quarta passada", "2026-01-07"},
		{"próxima sexta passada", refused}, {"sexta que", refused}, {"semana que vem", refused}, {"feira", refused},
		{"15 de janeiro", "2026-01-15"}, {"1º de maio", "2026-05-01"}, {"dia 10 de março de 2025", "2025-03-10"},
		{"31 de abril", refused}, {"10 de foo", refused}, {"10 janeiro 2027", "2027-01-10"},
		{"", refused}, {"15", refused}, {"não sei", refused}, {"15/01/2026 10:00", refused}, {strings.Repeat(" a", 60), refused},
	} {
		require.Equal(t, c.want, normalise(t, "date", c.given, now), "%q", c.given)
	}
}

func TestLeapDayAcrossACenturyWithoutOne(t *testing.T) {
	at := time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC)
	require.Equal(t, "2104-02-29", normalise(t, "date", "29/02", at))
}

func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{"15/01", "sexta que vem", "1.234,56", "a@b.c", "29/02/2024", "1º de maio", "2026-01-15T00:00:00Z", "0,0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		for _, as := range []string{"date", "number", "email", "text"} {
			kind, err := answer.Parse(as)
			require.NoError(t, err)
			got, ok := kind.Normalise(given, now)
			require.Equal(t, ok, got != "", "an accepted answer is never empty")
			if !ok {
				continue
			}
			if as == "date" {
				_, err := time.Parse(time.DateOnly, got)
				require.NoError(t, err)
			}
			if as == "number" && strings.Contains(got, ".") && len(got)-strings.Index(got, ".") == 4 {
				continue // "1234.567" is canonical, and "1.234" would be read as thousands again
			}
			again, ok := kind.Normalise(got, now)
			require.True(t, ok)
			require.Equal(t, got, again)
		}
	})
}
