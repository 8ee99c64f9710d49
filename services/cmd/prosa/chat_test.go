package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeGateway answers as the conversation API does: with the events of a script
// for each call, cut where it says so.
type fakeGateway struct {
	t       *testing.T
	scripts []string
	asked   []string
	created int
}

const cutHere = "CUT"

func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	require.Equal(g.t, "Bearer k", r.Header.Get("Authorization"))
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	if strings.HasPrefix(r.URL.Path, "/conversation/create/") {
		g.created++
		g.asked = append(g.asked, fmt.Sprintf("create %s %v", r.URL.Path[len("/conversation/create/"):], body["identifier"]))
		_, _ = fmt.Fprintf(w, `{"id":"c%d"}`, g.created)
		return
	}
	g.asked = append(g.asked, strings.TrimSpace(fmt.Sprintf("%s %s %v%s", r.Method, r.URL.Path, body["text"], r.Header.Get("Last-Event-ID"))))
	script := g.scripts[0]
	g.scripts = g.scripts[1:]
	if status := 0; strings.HasPrefix(script, "{") {
		_, _ = fmt.Sscanf(script, `{"status":%d`, &status)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(script))
		return
	}
	w.Header().Set("Prosa-Message-Id", "m1")
	script, cut := strings.CutSuffix(script, cutHere)
	_, _ = w.Write([]byte(script))
	if cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func token(id, text string) string {
	encoded, _ := json.Marshal(text)
	return fmt.Sprintf("id: %s\nevent: token\ndata: {\"text\":%s}\n\n", id, encoded)
}

const doneEvent = "id: 9\nevent: done\ndata: {\"id\":\"m1\",\"sendMensages\":[]}\n\n"

// talk runs the command against scripts with lines of input.
func talk(t *testing.T, person bool, input string, scripts ...string) (gateway *fakeGateway, out, errs string, err error) {
	t.Helper()
	gateway = &fakeGateway{t: t, scripts: scripts}
	server := httptest.NewServer(gateway)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var stdout, stderr bytes.Buffer
	command := &chatCommand{Agent: "a1", Key: "k", URL: server.URL + "/", Identifier: "ana"}
	require.NoError(t, command.Validate())
	err = command.talk(t.Context(), strings.NewReader(input), person, streams{&stdout, &stderr})
	return gateway, stdout.String(), stderr.String(), err
}

func TestChatShowsAnswers(t *testing.T) {
	gateway, out, errs, err := talk(t, false, "olá\n\n  \ntchau\n",
		token("1", "Olá, ")+": keep-alive\n\n"+token("2", "João!\n\nComo vai?")+"id: 3\nevent: message\ndata: {}\n\n"+doneEvent,
		token("1", "Até")+strings.Replace(doneEvent, "[]}", `[],"interrupted":true}`, 1))
	require.NoError(t, err)
	require.Equal(t, "Olá, João!\n\nComo vai?\n\nAté […]\n\n", out)
	require.Empty(t, errs)
	require.Equal(t, []string{"create a1 ana", "POST /conversation/stream/c1 olá", "POST /conversation/stream/c1 tchau"}, gateway.asked)
}

func TestChatGoesOnWhereAStreamIsCut(t *testing.T) {
	gateway, out, _, err := talk(t, false, "oi\n", token("1", "um ")+token("2", "dois ")+cutHere, token("3", "três")+cutHere, doneEvent)
	require.NoError(t, err)
	require.Equal(t, "um dois três\n\n", out)
	require.Equal(t, []string{"GET /conversation/stream/c1/m1 <nil>2", "GET /conversation/stream/c1/m1 <nil>3"}, gateway.asked[2:])
}

func TestChatSaysWhatFails(t *testing.T) {
	const interrupted = "id: 1\nevent: error\ndata: {\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"the answer broke off\",\"reason\":\"ANSWER_INTERRUPTED\"}\n\n"
	_, out, _, err := talk(t, false, "oi\nnunca\n", token("1", "um ")+interrupted+cutHere)
	require.EqualError(t, err, "503 Service Unavailable: the answer broke off")
	require.Equal(t, "um ", out)

	_, _, _, err = talk(t, false, "oi\n", `{"status":400,"title":"Bad Request","detail":"bad","invalidParams":[{"name":"text","reason":"is\u001b[2J long"}]}`)
	require.EqualError(t, err, "400 Bad Request: bad; text is·[2J long", "nothing that a terminal obeys")

	// A person may try again.
	_, out, errs, err := talk(t, true, "oi\nde novo\n", token("1", "um ")+interrupted+cutHere, token("1", "agora")+doneEvent)
	require.NoError(t, err)
	require.Equal(t, "> um > agora\n\n> ", out)
	require.Equal(t, "Conversation c1. Ctrl-D ends it here.\n\n503 Service Unavailable: the answer broke off\n", errs)
}

func TestChatBeginsAnotherConversationAfterTheEndOfOne(t *testing.T) {
	gateway, out, errs, err := talk(t, false, "oi\n",
		`{"status":409,"title":"Conflict","detail":"the conversation has ended","reason":"CONVERSATION_FINISHED"}`, token("1", "de novo")+doneEvent)
	require.NoError(t, err)
	require.Equal(t, "de novo\n\n", out)
	require.Equal(t, "The conversation has ended; c2 begins.\n", errs)
	require.Equal(t, "POST /conversation/stream/c2 oi", gateway.asked[3])
}

func TestChatEscapesWhatATerminalObeys(t *testing.T) {
	_, out, _, err := talk(t, false, "oi\n", token("1", "a\x1b[31m\x07\u202e\u009b b\tc\r\nd 👨‍👩‍👧")+doneEvent)
	require.NoError(t, err)
	require.Equal(t, "a·[31m··· b\tc·\nd 👨‍👩‍👧\n\n", out)
}

func TestChatEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	command := &chatCommand{Agent: "a1", Key: "k", URL: "http://127.0.0.1:1", Conversation: "c1"}
	var out bytes.Buffer
	require.NoError(t, command.talk(ctx, strings.NewReader("oi\n"), false, streams{&out, &out}))
}

func TestChatRefusesWhatCannotBeCalled(t *testing.T) {
	for _, args := range [][]string{
		{"chat"}, {"chat", "--agent=a"}, {"chat", "--key=k"}, {"chat", "--agent=a", "--key=k", "--url=ftp://x"}, {"chat", "--agent=a", "--key=k", "--url=x"},
	} {
		code, _, stderr := prosa(t, args...)
		require.Equal(t, 2, code, args)
		require.NotEmpty(t, stderr)
	}
}
