package fold_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestString(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"abc", "abc"},
		{" \t ABC\n", "abc"},
		{"Opção 1", "opcao 1"},
		{"OPÇÃO  1", "opcao  1"},
		{"São João", "sao joao"},
		{"Sa\u0303o", "sao"}, // decomposed as some telephones send it
		{"\u00a0Não\u2003", "nao"},
		{"STRASSE", "strasse"},
		{"Straße", "strasse"},
		{"Ünïcödé", "unicode"},
		{"👍🏽", "👍🏽"},
		{"한국어", "한국어"},
	} {
		require.Equal(t, c.want, fold.String(c.in), c.in)
	}
}

func TestEqual(t *testing.T) {
	require.True(t, fold.Equal("Seção Á", "secao a "))
	require.False(t, fold.Equal("Item 1", "Item 11"))
}

func FuzzStringIsStable(f *testing.F) {
	f.Add("Opção 1")
	f.Add("İ ŉ")
	f.Fuzz(func(t *testing.T, s string) {
		once := fold.String(s)
		require.Equal(t, once, fold.String(once))
	})
}
