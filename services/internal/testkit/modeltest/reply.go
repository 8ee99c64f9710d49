package modeltest

import (
	"io"
	"net/http"
)

// Reply is how a model answers a request.
type Reply func(s *Stream)

// Says is a model that says something, token by token, and ends.
func Says(tokens ...string) Reply {
	return func(s *Stream) {
		s.Delta(map[string]any{"role": "assistant", "content": ""}, "")
		for _, token := range tokens {
			s.Token(token)
		}
		s.End("stop")
	}
}

// Dies is a model whose connection breaks after some tokens.
func Dies(tokens ...string) Reply {
	return func(s *Stream) {
		s.Begin()
		for _, token := range tokens {
			s.Token(token)
		}
		s.Cut()
	}
}

// EndsEarly is a model whose stream ends after some tokens, as if all were well.
func EndsEarly(tokens ...string) Reply {
	return func(s *Stream) {
		s.Begin()
		for _, token := range tokens {
			s.Token(token)
		}
	}
}

// Hangs is a model that says nothing any more after some tokens.
func Hangs(tokens ...string) Reply {
	return func(s *Stream) {
		s.Begin()
		for _, token := range tokens {
			s.Token(token)
		}
		s.Wait()
	}
}

// Paced is a model that says each token when it is told to.
func Paced(next <-chan string) Reply {
	return func(s *Stream) {
		s.Begin()
		for {
			select {
			case token, ok := <-next:
				if !ok {
					s.End("stop")
					return
				}
				s.Token(token)
			case <-s.Request.Context().Done():
				return
			}
		}
	}
}

// Endless is a model that never ends.
func Endless(token string) Reply {
	return func(s *Stream) {
		s.Begin()
		for s.Request.Context().Err() == nil {
			s.Token(token)
		}
	}
}

// Status is an endpoint that answers with a status, headers (name, value, name, value …), and a page.
func Status(status int, headers ...string) Reply {
	return Page(status, "text/html", "<html><body><h1>Error</h1></body></html>", headers...)
}

// Page is an endpoint that answers with a page instead of a stream.
func Page(status int, contentType, body string, headers ...string) Reply {
	return func(s *Stream) {
		s.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(headers); i += 2 {
			s.Header().Set(headers[i], headers[i+1])
		}
		s.WriteHeader(status)
		_, _ = io.WriteString(s.ResponseWriter, body)
	}
}

// Redirects is an endpoint that sends its caller elsewhere.
func Redirects(target string) Reply { return Status(http.StatusTemporaryRedirect, "Location", target) }

// Raw is an endpoint that sends these bytes as its stream.
func Raw(text string) Reply { return func(s *Stream) { s.Raw(text) } }

// Call is the use of a tool.
type Call struct {
	Name string
	// Arguments come in these pieces.
	Arguments []string
}

// Uses is a model that says something, uses tools, and ends. The uses come in pieces, as those of the protocol do: the name first, then the
// arguments.
func Uses(text string, calls ...Call) Reply {
	return func(s *Stream) {
		if text != "" {
			s.Token(text)
		}
		for i, call := range calls {
			s.Delta(map[string]any{"tool_calls": []any{map[string]any{
				"index": i, "id": "call_" + call.Name, "type": "function", "function": map[string]any{"name": call.Name, "arguments": ""},
			}}}, "")
			for _, piece := range call.Arguments {
				s.Delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": piece}}}}, "")
			}
		}
		s.End("tool_calls")
	}
}
