package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

var byteOrderMark = []byte("\uFEFF")

// fromJSON turns a text that is JSON into one that the YAML parser reads as the same. YAML contains JSON but for the escapes of characters
// beyond the 16-bit plane, which JSON writes as two, that of the slash, and a few characters that YAML does not allow or takes for line breaks. Lines stay
// as they are. A text that is not a JSON object is returned as it is.
func fromJSON(text []byte) []byte {
	text = bytes.TrimPrefix(text, byteOrderMark)
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if text[i] == '\\' {
			escape, length := jsonEscape(text[i:])
			out = append(out, escape...)
			i += length
			continue
		}
		r, length := utf8.DecodeRune(text[i:])
		if special(r) {
			out = fmt.Appendf(out, `\U%08X`, r)
		} else {
			out = append(out, text[i:i+length]...)
		}
		i += length
	}
	return out
}

// special reports whether YAML does not take a character of a JSON string as it stands.
func special(r rune) bool {
	switch {
	case r == utf8.RuneError, r == '\uFEFF', r == '\u2028', r == '\u2029', r >= 0x7F && r < 0xA0:
		return true
	default:
		return r&0xFFFE == 0xFFFE // no character, in any plane
	}
}

// jsonEscape rewrites the escape at the beginning of valid JSON text, and gives its length there.
func jsonEscape(text []byte) (escape []byte, length int) {
	switch text[1] {
	case 'u':
	case '/':
		return text[1:2], 2 // an escape that JSON has and YAML 1.1 has not
	default:
		return text[:2], 2
	}
	first, ok := hex4(text)
	if !ok || !utf16.IsSurrogate(first) {
		return text[:6], 6
	}
	if second, ok := hex4(text[6:]); ok {
		if pair := utf16.DecodeRune(first, second); pair != utf8.RuneError {
			return fmt.Appendf(nil, `\U%08X`, pair), 12
		}
	}
	return []byte(`\uFFFD`), 6 // half a pair, which is no character
}

// hex4 reads \uXXXX.
func hex4(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	code, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(code), err == nil
}
