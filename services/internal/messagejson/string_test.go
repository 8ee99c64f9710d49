package messagejson

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAppendString(t *testing.T) {
	for s, want := range map[string]string{
		"":                 `""`,
		"Olá, 世界 👋":        `"Olá, 世界 👋"`,
		`a"b\c/d`:          `"a\"b\\c/d"`,
		"<b>&amp;</b>":     `"<b>&amp;</b>"`,
		"\b\f\n\r\t":       `"\b\f\n\r\t"`,
		"\x00\x1b\x1f\x7f": `"\u0000\u001b\u001f` + "\x7f" + `"`,
		"\u2028\u2029":     "\"\u2028\u2029\"",
		"a\xffb":           "\"a\ufffdb\"",
		"\xc3":             "\"\ufffd\"",
		"\xed\xa0\x80":     "\"\ufffd\ufffd\ufffd\"",
		"\ufffd":           "\"\ufffd\"",
		"\"\xff\"":         "\"\\\"\ufffd\\\"\"",
	} {
		require.Equal(t, want, string(AppendString(nil, s)))
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "Olá", "a\xff\"\\\n\x00\u2028", "\xed\xa0\x80", "👋"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := AppendString(nil, s)
		require.True(t, utf8.Valid(quoted))
		var got string
		require.NoError(t, json.Unmarshal(quoted, &got))
		// Byte for byte, as encoding/json replaces what is no UTF-8.
		require.Equal(t, string([]rune(s)), got)
		require.False(t, strings.ContainsAny(string(quoted), "\n\r\x00"))
	})
}
