package model

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// FuzzJoiner cuts bytes into pieces: what comes out is text, whatever went in, and all of it when that was text.
func FuzzJoiner(f *testing.F) {
	for _, seed := range []string{"São 😀", "\xed\xa0\xbd\xed\xb8\x80", "\xed\xa0\xbd", "\xed", "\xc3", "\xff", "\xed\xb8\x80", "\xed\xa0\xbda"} {
		f.Add([]byte(seed), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		if len(in) > 1<<10 { // no character is so long
			return
		}
		var j joiner
		var out strings.Builder
		step := int(size%8) + 1
		for at := 0; at < len(in); at += step {
			piece, ok := j.join(string(in[at:min(at+step, len(in))]))
			if !ok {
				require.False(t, utf8.Valid(in))
				return
			}
			require.True(t, utf8.ValidString(piece))
			require.Less(t, len(j.rest), 6)
			out.WriteString(piece)
		}
		if utf8.Valid(in) {
			require.True(t, j.whole())
			require.Equal(t, string(in), out.String())
		}
	})
}

// TestTextOfJSONThatWasCut cuts a text where JSON can: between the units of UTF-16, each part written in any of the ways of JSON.
func TestTextOfJSONThatWasCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("aã\"\\/\n\t\u2028😀🇧🇷\ufffd")), rapid.Rune())).Draw(t, "text")
		text = strings.ToValidUTF8(text, "")
		units := utf16.Encode([]rune(text))
		var j joiner
		var out strings.Builder
		for len(units) > 0 {
			n := rapid.IntRange(1, len(units)).Draw(t, "size")
			raw := quote(units[:n], rapid.Bool().Draw(t, "ascii"))
			units = units[n:]
			var decoded string
			if err := json.Unmarshal([]byte(raw), &decoded); err != nil {
				t.Fatal(err)
			}
			piece, ok := j.join(unquoted(decoded, raw))
			if !ok || !utf8.ValidString(piece) {
				t.Fatalf("%q", piece)
			}
			out.WriteString(piece)
		}
		if out.String() != text || !j.whole() {
			t.Fatalf("%q became %q", text, out.String())
		}
	})
}

// quote writes units as a JSON string; halves of characters, and with ascii everything, as escapes.
func quote(units []uint16, ascii bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(units); i++ {
		c := rune(units[i])
		if utf16.IsSurrogate(c) && !ascii && i+1 < len(units) {
			if whole := utf16.DecodeRune(c, rune(units[i+1])); whole != utf8.RuneError {
				b.WriteRune(whole)
				i++
				continue
			}
		}
		switch {
		case strings.ContainsRune("\"\\/", c):
			b.WriteString(`\` + string(c))
		case c == '\n':
			b.WriteString(`\n`)
		case c < 0x20 || ascii || utf16.IsSurrogate(c):
			hex := strconv.FormatUint(uint64(units[i]), 16)
			b.WriteString(`\u` + strings.Repeat("0", 4-len(hex)) + hex)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
