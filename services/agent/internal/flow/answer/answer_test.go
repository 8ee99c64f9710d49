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
		{"CPF", "must be text, number, date, email, phone, cpf, cnpj or regex: …"},
		{"", "must be text, number, date, email, phone, cpf, cnpj or regex: …"},
		{"Text", "must be text, number, date, email, phone, cpf, cnpj or regex: …"},
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
		{"ana@localhost", refused}, {"Ana <ana@example.com>", refused}, {"<ana@example.com>", refused}, {`"a b"@example.com`, refused},
		{"ana@example.com (casa)", refused}, {"a@b@c", refused}, {"ana", refused}, {"@example.com", refused}, {"ana@", refused},
		{"a@b.com, c@d.com", refused}, {"ana@exa mple.com", refused}, {"a\r\nb@c.com", refused},
		{longest, longest}, {"a" + longest, refused},
	} {
		require.Equal(t, c.want, normalise(t, "email", c.given, now), "%q", c.given)
	}
}

func TestDateIsISO(t *testing.T) {
	for given, want := range map[string]string{
		"sexta que vem": "2026-01-16", "15/1/27": "2027-01-15", "2026-01-15T00:00:00Z": "2026-01-15", "15": refused, "31/02": refused,
	} {
		require.Equal(t, want, normalise(t, "date", given, now), "%q", given)
	}
}

func TestCPF(t *testing.T) {
	for given, want := range map[string]string{
		"111.444.777-35": "11144477735", "11144477735": "11144477735", " 111 444 777 35 ": "11144477735", "111444777-35": "11144477735",
		"CPF: 111.444.777-35": "11144477735", "cpf 11144477735": "11144477735", "529.982.247-25": "52998224725", "000.000.001-91": "00000000191",
		"111.444.777-34": refused, "111.444.777-25": refused, "111.111.111-11": refused, "00000000000": refused, "1114447773": refused,
		"111444777355": refused, "111.444.777-3A": refused, "meu cpf": refused, "CPF": refused, "111_444_777_35": refused,
		"11144477735" + strings.Repeat(" ", 60) + "0": refused,
	} {
		require.Equal(t, want, normalise(t, "cpf", given, now), "%q", given)
	}
}

func TestCNPJ(t *testing.T) {
	for given, want := range map[string]string{
		"11.222.333/0001-81": "11222333000181", "11222333000181": "11222333000181", "CNPJ 11.222.333/0001-81": "11222333000181",
		"00.000.000/0001-91": "00000000000191", "11.222.333/0001-80": refused, "11.222.333/0001-71": refused, "00.000.000/0000-00": refused,
		"1122233300018": refused, "112223330001811": refused,
		// The example of the Receita Federal for the alphanumeric form.
		"12.ABC.345/01DE-35": "12ABC34501DE35", "12abc34501de35": "12ABC34501DE35", "12.ABC.345/01DE-36": refused, "12.ABC.345/01DE-3A": refused,
		"12.ÁBC.345/01DE-35": refused,
	} {
		require.Equal(t, want, normalise(t, "cnpj", given, now), "%q", given)
	}
}

// Every single wrong digit and every swap of neighbours is noticed, save those that modulo 11 cannot see: where a rest of 0 and of 1 give
// the same check digit.
func TestCheckDigitsNoticeSlips(t *testing.T) {
	const good = "52998224725"
	missed := 0
	for i := range good {
		for c := byte('0'); c <= '9'; c++ {
			if wrong := good[:i] + string(c) + good[i+1:]; c != good[i] && normalise(t, "cpf", wrong, now) != refused {
				missed++
			}
		}
	}
	require.Zero(t, missed)
}

func TestPhone(t *testing.T) {
	for given, want := range map[string]string{
		"(11) 98765-4321": "+5511987654321", "11987654321": "+5511987654321", "11 9 8765 4321": "+5511987654321", "11.98765.4321": "+5511987654321",
		"+55 11 98765-4321": "+5511987654321", "+5511987654321": "+5511987654321", "5511987654321": "+5511987654321", "55 (11) 98765-4321": "+5511987654321",
		"011 98765-4321": "+5511987654321", "0 21 11 98765-4321": "+5511987654321", "+55 (011) 98765-4321": "+5511987654321",
		"(11) 3456-7890": "+551134567890", "1134567890": "+551134567890", "+55 11 3456-7890": "+551134567890", "551134567890": "+551134567890",
		// The ninth digit.
		"(11) 8765-4321": "+5511987654321", "+55 11 8765-4321": "+5511987654321", "11 6765-4321": "+5511967654321",
		// 55 is an area code too.
		"(55) 98765-4321": "+5555987654321", "55 3456-7890": "+555534567890", "+55 55 98765-4321": "+5555987654321", "5555987654321": "+5555987654321",
		// Other countries.
		"+351 912 345 678": "+351912345678", "+1 (202) 555-0143": "+12025550143", "+12345678": "+12345678", "+123456789012345": "+123456789012345",
		"+1234567": refused, "+1234567890123456": refused, "+0123456789": refused,
		"98765-4321": refused, "3456-7890": refused, "(20) 98765-4321": refused, "(10) 98765-4321": refused,
		"(11) 88765-4321": refused, "(11) 1456-7890": refused, "(11) 0456-7890": refused, "0800 123 4567": refused, "190": refused, "+55": refused, "+": refused,
		"+55 98765-4321": refused, "119876543210": refused, "11 98765-4321 ramal 2": refused, "meu número": refused, "++5511987654321": refused,
		"٠١١٩٨٧٦٥٤٣٢": refused, strings.Repeat("1", 65): refused,
	} {
		require.Equal(t, want, normalise(t, "phone", given, now), "%q", given)
	}
}

func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{"15/01", "sexta que vem", "1.234,56", "a@b.c", "(11) 8765-4321", "111.444.777-35", "12.ABC.345/01DE-35", "0,0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		for _, as := range []string{"date", "number", "email", "text", "phone", "cpf", "cnpj"} {
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
