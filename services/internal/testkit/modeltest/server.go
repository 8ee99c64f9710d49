// Package modeltest is a language model for tests: a server that speaks the OpenAI chat-completions protocol, streaming, and says what a
// script has it say, faults included.
package modeltest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Request is what the server was asked.
type Request struct {
	// Remote is the caller's address, the same for all requests of one connection.
	Remote string `json:"-"`
	Path   string
	Header http.Header
	// Raw is the body; the rest is what it says.
	Raw         []byte
	Model       string    `json:"model"`
	Stream      bool      `json:"stream"`
	Messages    []Message `json:"messages"`
	Tools       []Tool    `json:"tools"`
	MaxTokens   *int      `json:"max_tokens"`
	Temperature *float64  `json:"temperature"`
}

// Message is a message of a request.
type Message struct {
	Role       string `json:"role"`
	Content    string `json:"content"`
	ToolCallID string `json:"tool_call_id"`
	ToolCalls  []struct {
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// Tool is a tool of a request.
type Tool struct {
	Function struct {
		Name        string         `json:"name"`
		Description string         `json:"description"`
		Parameters  map[string]any `json:"parameters"`
	} `json:"function"`
}

// Server is the model. It is safe for concurrent use.
type Server struct {
	// URL is what a definition has as `baseUrl`.
	URL string

	mu       sync.Mutex
	script   []Reply
	requests []*Request
}

// New starts a server that ends with the test. A request gets the next reply of the script, and every one after the last reply that too.
func New(t testing.TB, script ...Reply) *Server {
	t.Helper()
	s := &Server{script: script}
	served := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(served.Close)
	s.URL = served.URL + "/v1"
	return s
}

// Script has the server say something else from the next request on.
func (s *Server) Script(script ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Requests are what the server was asked so far, oldest first.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Request(nil), s.requests...)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	asked := &Request{Path: r.URL.Path, Header: r.Header.Clone(), Remote: r.RemoteAddr}
	var err error
	if asked.Raw, err = io.ReadAll(io.LimitReader(r.Body, 4<<20)); err == nil {
		err = json.Unmarshal(asked.Raw, asked)
	}
	s.mu.Lock()
	s.requests = append(s.requests, asked)
	var reply Reply
	if len(s.script) > 0 {
		reply = s.script[0]
	}
	if len(s.script) > 1 {
		s.script = s.script[1:]
	}
	s.mu.Unlock()
	if err != nil || !asked.Stream || !strings.HasSuffix(asked.Path, "/chat/completions") || reply == nil {
		http.Error(w, "no such thing", http.StatusNotFound)
		return
	}
	reply(&Stream{ResponseWriter: w, Request: r, Asked: asked})
}

// Stream is a reply that is being made.
type Stream struct {
	http.ResponseWriter
	// Request is the request; its context ends when the caller goes away.
	Request *http.Request
	Asked   *Request
	begun   bool
}

// Begin begins a stream of events.
func (s *Stream) Begin() {
	if !s.begun {
		s.begun = true
		s.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		s.WriteHeader(http.StatusOK)
	}
	s.flush()
}

// Raw sends bytes at once.
func (s *Stream) Raw(text string) {
	if !s.begun {
		s.Begin()
	}
	_, _ = io.WriteString(s.ResponseWriter, text) // who has gone away hears nothing
	s.flush()
}

func (s *Stream) flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

// Data sends an event.
func (s *Stream) Data(data string) { s.Raw("data: " + data + "\n\n") }

// Delta sends a piece; finish is "" until the model ends.
func (s *Stream) Delta(delta any, finish string) {
	choice := map[string]any{"index": 0, "delta": delta, "finish_reason": nil}
	if finish != "" {
		choice["finish_reason"] = finish
	}
	s.Data(encode(map[string]any{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": s.Asked.Model, "choices": []any{choice}}))
}

// Token sends a token.
func (s *Stream) Token(text string) { s.Delta(map[string]any{"content": text}, "") }

// End says that the model has ended.
func (s *Stream) End(reason string) {
	s.Delta(map[string]any{}, reason)
	s.Data("[DONE]")
}

// Cut breaks the connection.
func (s *Stream) Cut() { panic(http.ErrAbortHandler) }

// Wait waits until the caller goes away.
func (s *Stream) Wait() { <-s.Request.Context().Done() }

func encode(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", value, err))
	}
	return string(raw)
}
