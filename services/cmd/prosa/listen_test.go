package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/receiver"
)

// listening runs `prosa listen` until the test ends. lines is what it prints
// after the first line, which names the address.
func listening(t *testing.T, args ...string) (url string, lines <-chan string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"listen", "--port=0"}, args...), writer, io.Discard)
		_ = writer.Close()
	}()
	printed := make(chan string, 100) // more than any test prints
	go func() {
		defer close(printed)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			printed <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		require.Zero(t, <-ended, "the end of the process is no failure")
		for range printed { // until it is closed
			continue
		}
		http.DefaultClient.CloseIdleConnections()
	})
	line := <-printed
	url = regexp.MustCompile(`http://\S+/`).FindString(line)
	require.NotEmpty(t, url, line)
	return url, printed
}

func deliver(t *testing.T, url, body string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("webhook-id", "64a1b2c3d4e5f6a7b8c9d0e1")
	request.Header.Set("Prosa-Sequence", "3")
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		require.NoError(t, response.Body.Close())
	}
	return response, err
}

func TestListenShowsAndAcknowledges(t *testing.T) {
	url, lines := listening(t)
	response, err := deliver(t, url, "{\"a\":\"Olá\x1b[31m\r\n\xff\"}")
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "<- 200 #3 64a1b2c3d4e5f6a7b8c9d0e1", <-lines)
	require.Equal(t, "   {\"a\":\"Olá·[31m··\uFFFD\"}", <-lines, "one line, whatever comes")
}

func TestListenMisbehavesAsTold(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		status []int // 0: the connection ends
		retry  string
	}{
		"gone":               {[]string{"--status=410"}, []int{410, 410}, ""},
		"in turn":            {[]string{"--status=500,429"}, []int{500, 429, 500}, ""},
		"asks to wait":       {[]string{"--retry-after=120"}, []int{503}, "120"},
		"the first":          {[]string{"--fail-first=1", "--status=502"}, []int{502, 200}, ""},
		"always":             {[]string{"--fail-rate=1"}, []int{500}, ""},
		"never":              {[]string{"--fail-rate=0", "--status=502"}, []int{200}, ""},
		"drops":              {[]string{"--drop"}, []int{0}, ""},
		"answers nonsense":   {[]string{"--body=no"}, []int{200}, ""},
		"refuses unsigned":   {[]string{"--secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, []int{401}, ""},
		"slow, but it comes": {[]string{"--slow=1ms", "--delay=1ms"}, []int{200}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := listening(t, test.args...)
			for _, want := range test.status {
				response, err := deliver(t, url, "{}")
				if want == 0 {
					require.Error(t, err)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, want, response.StatusCode)
				require.Equal(t, test.retry, response.Header.Get("Retry-After"))
			}
		})
	}
}

func TestListenStopsAlthoughItDelays(t *testing.T) {
	failed := make(chan error, 1)
	t.Cleanup(func() { require.Error(t, <-failed, "no answer, rather than an empty one") }) // after the stop
	url, _ := listening(t, "--delay=1h")
	sent := make(chan struct{})
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	require.NoError(t, err)
	request.GetBody = nil // sent once
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		failed <- err
	}()
	<-sent
}

func TestMisbehaviourOfListen(t *testing.T) {
	half := 0.5
	for name, test := range map[string]struct {
		command listenCommand
		want    receiver.Misbehaviour
	}{
		"none":               {listenCommand{}, receiver.Misbehaviour{}},
		"rate alone":         {listenCommand{FailRate: &half}, receiver.Misbehaviour{FailRate: 0.5}},
		"a way alone":        {listenCommand{Drop: true}, receiver.Misbehaviour{FailRate: 1, Drop: true}},
		"a way and a rate":   {listenCommand{Drop: true, FailRate: &half}, receiver.Misbehaviour{FailRate: 0.5, Drop: true}},
		"a way and a number": {listenCommand{Body: "x", FailFirst: 3}, receiver.Misbehaviour{FailFirst: 3, WrongBody: "x"}},
		"a wait alone":       {listenCommand{RetryAfter: "5"}, receiver.Misbehaviour{FailRate: 1, RetryAfter: "5", Statuses: []int{503}}},
		"a wait and a status": {listenCommand{RetryAfter: "5", Status: []int{429}},
			receiver.Misbehaviour{FailRate: 1, RetryAfter: "5", Statuses: []int{429}}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, test.command.misbehaviour()) })
	}
}
