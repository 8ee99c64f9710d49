package gateway

import (
	_ "embed"
	"net/http"
)

// The page that renders the OpenAPI document. It has no outside parts, so that it works without a network and its policy can
// forbid everything else.
var (
	//go:embed docs/page.html
	docsPage []byte
	//go:embed docs/page.js
	docsScript []byte
	//go:embed docs/page.css
	docsStyle []byte
)

// docsPolicy lets the page load its own script, style and document, and nothing else (Content Security Policy Level 3).
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// newPages are the fixed paths, which answer GET and HEAD.
func (g *Gateway) newPages(openAPI []byte) map[string]http.Handler {
	return map[string]http.Handler{
		"/livez":         Live(),
		"/readyz":        Ready(g.readiness),
		"/openapi.json":  fixed(jsonType, openAPI),
		"/docs":          fixed("text/html; charset=utf-8", docsPage),
		"/docs/page.js":  fixed("text/javascript; charset=utf-8", docsScript),
		"/docs/page.css": fixed("text/css; charset=utf-8", docsStyle),
	}
}

func fixed(contentType string, content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", contentType)
		header.Set("Content-Security-Policy", docsPolicy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		_, _ = w.Write(content)
	})
}
