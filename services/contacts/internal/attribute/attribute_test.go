package attribute_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/contacts/internal/attribute"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLookup(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{attribute.CPF, "123.456.789-09", "12345678909"},
		{attribute.CPF, "12345678909", "12345678909"},
		{attribute.CPF, "nenhum", ""},
		{attribute.Phone, "+55 (11) 98765-4321", "5511987654321"},
		{attribute.Phone, "١٢٣", ""},
		{attribute.Email, "Fulana@Exemplo.COM.br", "fulana@exemplo.com.br"},
		{attribute.Email, "STRASSE@x", "strasse@x"},
		{attribute.Email, "straße@x", "strasse@x"},
		{attribute.IdentificationNumber, "A-1 b", "A-1 b"},
		{attribute.IdentificationNumber2, "A-1", "A-1"},
		{attribute.IdentificationNumber3, "A-1", "A-1"},
		{attribute.IdentificationNumber4, "A-1", "A-1"},
		{"name", "Fulana", ""},
		{"CPF", "123", ""},
		{attribute.IdentificationNumber, strings.Repeat("x", 2048), strings.Repeat("x", 2048)},
		{attribute.IdentificationNumber, strings.Repeat("x", 2049), ""},
	} {
		require.Equal(t, test.want, attribute.Lookup(test.name, test.value), "%s %.20q", test.name, test.value)
	}
	// The character that grows most, as often as can be asked for.
	require.NotEmpty(t, attribute.Lookup(attribute.Email, strings.Repeat("ΐ", 256)))
}
