package model

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// joiner makes whole characters of pieces that may be cut anywhere: between the bytes of a character, and between the two halves that
// JSON writes a rare one in. A half is written as three bytes, as UTF-8 would if it might; see unquoted.
type joiner struct{ rest []byte }

// join gives what is whole of what is there so far. It reports false when bytes make no characters, whatever may come.
func (j *joiner) join(piece string) (string, bool) {
	if len(j.rest) == 0 && utf8.ValidString(piece) {
		return piece, true
	}
	in := append(j.rest, piece...)
	out := make([]byte, 0, len(in))
	for len(in) > 0 {
		c, size := utf8.DecodeRune(in)
		if c == utf8.RuneError && size < 2 {
			if c, size = half(in); size == 0 {
				return "", false
			}
			if size > len(in) {
				break // the rest is to come
			}
		}
		out = utf8.AppendRune(out, c)
		in = in[size:]
	}
	j.rest = append([]byte(nil), in...)
	return string(out), true
}

// whole reports whether nothing is missing.
func (j *joiner) whole() bool { return len(j.rest) == 0 }

// half reads a character that UTF-8 does not have so: one of two halves. The size is larger than what is there when more must come, and 0
// when nothing can make it right.
func half(in []byte) (c rune, size int) {
	const more = utf8.UTFMax * 2
	if !utf8.FullRune(in) {
		return 0, more
	}
	if in[0] != 0xED { // no half begins otherwise
		return 0, 0
	}
	if len(in) < 3 {
		if len(in) == 1 || in[1] >= 0xA0 && in[1] <= 0xAF {
			return 0, more
		}
		return 0, 0
	}
	high, ok := surrogate(in)
	if !ok || high >= 0xDC00 {
		return 0, 0
	}
	in = in[3:]
	switch {
	case len(in) == 0, len(in) == 1 && in[0] == 0xED, len(in) == 2 && in[0] == 0xED && in[1] >= 0xB0 && in[1] <= 0xBF:
		return 0, more
	}
	low, ok := surrogate(in)
	if !ok {
		return 0, 0
	}
	if c = utf16.DecodeRune(high, low); c == utf8.RuneError {
		return 0, 0
	}
	return c, 6
}

// surrogate reads a half.
func surrogate(in []byte) (rune, bool) {
	if len(in) < 3 || in[0] != 0xED || in[1] < 0xA0 || in[1] > 0xBF || in[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | rune(in[1]&0x3F)<<6 | rune(in[2]&0x3F), true
}

// unquoted is the text of a JSON string, which the library has read already. The library makes U+FFFD of each half of a character that
// was cut in two, so where it may have, the string is read again, and halves are kept.
func unquoted(text, raw string) string {
	if !strings.ContainsRune(text, utf8.RuneError) || !strings.Contains(raw, `\ud`) && !strings.Contains(raw, `\uD`) {
		return text
	}
	raw = strings.TrimSuffix(strings.TrimPrefix(raw, `"`), `"`)
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		if raw[0] != '\\' || len(raw) < 2 {
			out, raw = append(out, raw[0]), raw[1:]
			continue
		}
		if raw[1] == 'u' && len(raw) >= 6 {
			if code, err := strconv.ParseUint(raw[2:6], 16, 16); err == nil {
				out, raw = appendUnit(out, uint16(code)), raw[6:]
				continue
			}
		}
		if at := strings.IndexByte(`"\/bfnrt`, raw[1]); at >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[at])
		}
		raw = raw[2:]
	}
	return string(out)
}

// appendUnit appends a unit of UTF-16, be it half a character.
func appendUnit(out []byte, unit uint16) []byte {
	if !utf16.IsSurrogate(rune(unit)) {
		return utf8.AppendRune(out, rune(unit))
	}
	return append(out, 0xED, byte(0x80|unit>>6&0x3F), byte(0x80|unit&0x3F))
}
