package request

import (
	"context"
	"maps"
	"mime"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

const contentTypeName = "Content-Type"

// ownHeaders are those that belong to the exchange itself, and not to what is said in it.
var ownHeaders = map[string]bool{
	"Accept-Encoding": true, "Connection": true, "Content-Encoding": true, "Content-Length": true, "Expect": true, "Host": true,
	"Http2-Settings": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// header is a compiled header.
type header struct {
	name  string
	value expr.Template
}

// Header is a header to be sent. Its value is that of its pieces, one after the other: texts, and secrets by their names.
type Header struct {
	Name  string
	Value []expr.Piece
}

// compileHeaders also gives the media type that the header Content-Type says, "" if there is no such header.
func compileHeaders(exprs *expr.Compiler, defs map[string]string, fault func(field, key string, err error)) (headers []header, kind string) {
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		value, err := exprs.SecretTemplate(defs[name])
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			err = at(1, "the name of a header is letters, digits and -")
		case ownHeaders[canonical]:
			err = at(1, "this header belongs to the exchange itself and cannot be set")
		case seen[canonical]:
			err = at(1, "the header is given twice: upper and lower case are the same")
		case err == nil:
			err = checkHeader(value.Pieces())
		}
		seen[canonical] = true
		if canonical == contentTypeName {
			kind = unread
			if err == nil {
				kind, err = mediaType(value)
			}
		}
		fault("headers", name, err)
		headers = append(headers, header{name: canonical, value: value})
	}
	return headers, kind
}

// checkHeader checks what the author of a header wrote.
func checkHeader(pieces []expr.Piece) error {
	for _, piece := range pieces {
		if !httpguts.ValidHeaderFieldValue(piece.Text) {
			return at(piece.Position, "a header has no line breaks and no control characters")
		}
	}
	return nil
}

func mediaType(value expr.Template) (string, error) {
	written, constant := value.Static()
	if !constant {
		return unread, at(1, "must be constant text, for the body is written by it")
	}
	kind, _, err := mime.ParseMediaType(written)
	if err != nil {
		return unread, at(1, "is no media type, as application/json is one")
	}
	return kind, nil
}

// renderHeaders leaves out headers that have nothing to say.
func renderHeaders(ctx context.Context, scope *expr.Scope, headers []header) ([]Header, error) {
	made := make([]Header, 0, len(headers))
	size := 0
	for i := range headers {
		h := Header{Name: headers[i].name, Value: headers[i].value.RenderPieces(ctx, scope)}
		says := false
		size += len(h.Name)
		for _, piece := range h.Value {
			if !httpguts.ValidHeaderFieldValue(piece.Text) {
				return nil, ErrHeader
			}
			size += len(piece.Text)
			says = says || piece.Secret != "" || strings.TrimSpace(piece.Text) != ""
		}
		if says {
			made = append(made, h)
		}
	}
	if size > maxHeader {
		return nil, ErrHeader
	}
	return made, nil
}
