package request

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

// anywhere checks the form of a URL alone. Whether it may be called is for the guard of the service that calls it.
var anywhere = egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, true)

func compileURL(exprs *expr.Compiler, source string) (expr.Template, error) {
	template, err := exprs.Template(source)
	if err != nil {
		return expr.Template{}, err
	}
	return template, checkURL(template.Pieces())
}

// checkURL checks what the author of a URL wrote: a host that no expression has part in, and expressions only where a value can stand.
func checkURL(pieces []expr.Piece) error {
	if len(pieces) == 0 || pieces[0].Expression {
		return at(1, "must begin with https:// or http:// and a host, which are constant text")
	}
	first := pieces[0].Text
	end := authorityEnd(first)
	if end < 0 && len(pieces) > 1 {
		return at(pieces[1].Position, "scheme, host and port must be constant text: a / or ? must come before the first expression")
	}
	if end < 0 {
		end = len(first)
	}
	if err := anywhere.CheckURL(first[:end]); err != nil {
		return at(1, strings.TrimPrefix(err.Error(), "target refused: "))
	}
	place := fieldPlace{inPath: true}
	var sample strings.Builder
	for i, piece := range pieces {
		if piece.Expression {
			if err := place.take(pieces, i); err != nil {
				return err
			}
			sample.WriteByte('x')
			continue
		}
		if hash := strings.IndexByte(piece.Text, '#'); hash >= 0 {
			return at(piece.Position+utf8.RuneCountInString(piece.Text[:hash]), "a URL that is called has no fragment")
		}
		text := piece.Text
		if i == 0 {
			text = text[end:]
		}
		place.pass(text)
		sample.WriteString(piece.Text)
	}
	if err := anywhere.CheckURL(sample.String()); err != nil {
		return at(1, strings.TrimPrefix(err.Error(), "target refused: "))
	}
	return nil
}

// authorityEnd gives the offset behind scheme, host and port, -1 if the text ends with them.
func authorityEnd(text string) int {
	_, rest, found := strings.Cut(text, "://")
	if !found {
		rest = text
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return -1
	}
	return len(text) - len(rest) + end
}

// fieldPlace is a place in the path and query of a URL, or in the fields of a form.
type fieldPlace struct{ inPath, inValue bool }

// pass goes on behind a text that the author wrote.
func (f *fieldPlace) pass(text string) {
	for i := range len(text) {
		switch text[i] {
		case '?':
			f.inPath = false
		case '&', ';':
			f.inValue = false
		case '=':
			f.inValue = !f.inPath
		}
	}
}

// take checks that an expression can stand here.
func (f *fieldPlace) take(pieces []expr.Piece, i int) error {
	if i > 0 && !pieces[i-1].Expression && opensEscape(pieces[i-1].Text) {
		return at(pieces[i].Position, "an expression cannot be a part of a % escape")
	}
	if !f.inPath && !f.inValue {
		return at(pieces[i].Position, "here an expression can only be a value: name={{ … }}")
	}
	return nil
}

// opensEscape reports whether a text ends inside a % escape.
func opensEscape(text string) bool {
	percent := strings.LastIndexByte(text, '%')
	return percent >= 0 && percent >= len(text)-2
}

// renderURL puts the values in, escaped.
func renderURL(pieces []expr.Piece) (string, error) {
	var (
		out     strings.Builder
		part    strings.Builder // the segment of the path so far
		valued  bool            // a value is in it
		inQuery bool
	)
	for i, piece := range pieces {
		if piece.Expression {
			escaped := escape(piece.Text)
			out.WriteString(escaped)
			part.WriteString(escaped)
			valued = true
			continue
		}
		out.WriteString(piece.Text)
		text := piece.Text
		if i == 0 {
			text = text[max(authorityEnd(text), 0):]
		}
		for !inQuery {
			end := strings.IndexAny(text, "/?")
			if end < 0 {
				part.WriteString(text)
				break
			}
			part.WriteString(text[:end])
			if valued && !staysPut(part.String()) {
				return "", ErrURL
			}
			inQuery = text[end] == '?'
			text, valued = text[end+1:], false
			part.Reset()
		}
	}
	if !inQuery && valued && !staysPut(part.String()) {
		return "", ErrURL
	}
	if made := out.String(); utf8.RuneCountInString(made) <= egress.MaxURLLength {
		return made, nil
	}
	return "", ErrURLLength
}

// staysPut reports whether a segment of a path is one wherever it is read: neither empty, which calls what is above, nor with a dot
// segment in it, also for who takes an escaped slash for a slash.
func staysPut(segment string) bool {
	plain, err := url.PathUnescape(segment)
	if err != nil || plain == "" {
		return false
	}
	for step := range strings.FieldsFuncSeq(plain, func(c rune) bool { return c == '/' || c == '\\' }) {
		if step == "." || step == ".." {
			return false
		}
	}
	return true
}

// escape writes a value so that it has no meaning anywhere in a URL or a form: all but the unreserved characters (RFC 3986, section 2.3)
// as % escapes.
func escape(value string) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(value) {
		if c := value[i]; unreserved(c) {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return out.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
