package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// chatResumes is how often a stream that is cut is gone on with before it is
	// given up, and chatPause how long before each time.
	chatResumes = 5
	chatPause   = time.Second
	// maxChatLine is the longest line that is read, in bytes: more than a message
	// may have.
	maxChatLine = 64 << 10
	// maxChatEvent is the longest event that is read, in bytes.
	maxChatEvent = 8 << 20
)

type chatCommand struct {
	Agent        string `required:"" help:"Id of the agent to talk to."`
	Key          string `required:"" help:"API key with the scope conversations; better given as PROSA_KEY, which other users of the machine cannot see."`
	URL          string `name:"url" default:"http://127.0.0.1:8080" help:"Address of the gateway."`
	Identifier   string `help:"Who talks. Default: somebody new."`
	Conversation string `help:"Id of the conversation to go on with. Default: a new one."`
}

// Validate refuses what cannot be called.
func (c *chatCommand) Validate() error {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return errors.New("url: must be http://… or https://…")
	}
	return nil
}

// Run talks until the input ends.
func (c *chatCommand) Run(ctx context.Context, s streams) error {
	return c.talk(ctx, os.Stdin, isTerminal(os.Stdin), s)
}

// talk sends a message for each line and shows the answers. A person is shown a
// prompt.
func (c *chatCommand) talk(ctx context.Context, in io.Reader, person bool, s streams) error {
	talk := &chatTalk{
		base: strings.TrimSuffix(c.URL, "/"), agent: c.Agent, key: c.Key, identifier: c.Identifier, conversation: c.Conversation, streams: s,
	}
	if talk.conversation == "" {
		if err := talk.begin(ctx); err != nil {
			return err
		}
	}
	prompt := ""
	if person {
		prompt = "> "
		if _, err := fmt.Fprintf(s.err, "Conversation %s. Ctrl-D ends it here.\n", talk.conversation); err != nil {
			return err
		}
	}
	lines, failed := readLines(ctx, in)
	for {
		if _, err := io.WriteString(s.out, prompt); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				return <-failed
			}
			if strings.TrimSpace(line) == "" {
				continue
			}
			err := talk.say(ctx, line)
			switch {
			case ctx.Err() != nil:
				return nil //nolint:nilerr // told to stop in the middle of an answer
			case err != nil && person && mayGoOn(err):
				if _, err := fmt.Fprintf(s.err, "\n%s\n", err); err != nil {
					return err
				}
			case err != nil:
				return err
			}
		}
	}
}

// mayGoOn says that another message may be answered although this one was not.
func mayGoOn(err error) bool {
	var problem *chatProblem
	if !errors.As(err, &problem) {
		return true
	}
	return problem.Status == http.StatusBadRequest || problem.Status == http.StatusTooManyRequests || problem.Status >= http.StatusInternalServerError
}

// readLines reads lines until the input or ctx ends, and says then with what.
func readLines(ctx context.Context, in io.Reader) (<-chan string, <-chan error) {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxChatLine)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		failed <- scanner.Err()
	}()
	return lines, failed
}

// chatTalk is a conversation over the REST surface.
type chatTalk struct {
	base, agent, key, identifier, conversation string
	streams                                    streams
}

// chatProblem is an answer that is no success (RFC 9457).
type chatProblem struct {
	Status        int
	Title, Detail string
	Reason        string
	RequestID     string
	InvalidParams []struct{ Name, Reason string }
}

func (p *chatProblem) Error() string {
	text := fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail)
	for _, bad := range p.InvalidParams {
		text += fmt.Sprintf("; %s %s", bad.Name, bad.Reason)
	}
	return terminalText(text)
}

// begin makes a conversation.
func (c *chatTalk) begin(ctx context.Context) error {
	fields := map[string]any{}
	if c.identifier != "" {
		fields["identifier"] = c.identifier
	}
	response, err := c.call(ctx, http.MethodPost, "/conversation/create/"+url.PathEscape(c.agent), fields, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var created struct{ ID string }
	if err := json.NewDecoder(response.Body).Decode(&created); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	c.conversation = created.ID
	return nil
}

// say sends a message and shows the answer as it comes. What is said after the
// end of a conversation begins another one.
func (c *chatTalk) say(ctx context.Context, text string) error {
	err := c.stream(ctx, text)
	var problem *chatProblem
	if errors.As(err, &problem) && problem.Reason == "CONVERSATION_FINISHED" {
		if err := c.begin(ctx); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c.streams.err, "The conversation has ended; %s begins.\n", c.conversation); err != nil {
			return err
		}
		return c.stream(ctx, text)
	}
	return err
}

// stream shows the answer to a message, and goes on with it where it is cut.
func (c *chatTalk) stream(ctx context.Context, text string) error {
	path := "/conversation/stream/" + url.PathEscape(c.conversation)
	place := chatPlace{}
	err := c.follow(ctx, http.MethodPost, path, map[string]any{"text": text}, http.Header{"Accept": {"text/event-stream"}}, &place)
	for resumes := 0; err != nil && place.message != "" && isCut(err) && ctx.Err() == nil && resumes < chatResumes; resumes++ {
		if err := pause(ctx, chatPause); err != nil {
			return err
		}
		err = c.follow(ctx, http.MethodGet, path+"/"+url.PathEscape(place.message), nil, http.Header{"Last-Event-ID": {place.event}}, &place)
	}
	return err
}

// chatPlace is how far an answer has been shown.
type chatPlace struct{ message, event string }

// follow makes a call for a stream and shows it.
func (c *chatTalk) follow(ctx context.Context, method, path string, fields map[string]any, header http.Header, place *chatPlace) error {
	response, err := c.call(ctx, method, path, fields, header)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	place.message = response.Header.Get("Prosa-Message-Id")
	place.event, err = c.show(response.Body, place.event)
	return err
}

// isCut says that a stream ended in the middle, and may go on.
func isCut(err error) bool {
	var problem *chatProblem
	if errors.As(err, &problem) {
		return problem.Status == http.StatusServiceUnavailable && problem.Reason != "ANSWER_INTERRUPTED"
	}
	return true // of the connection
}

func pause(ctx context.Context, d time.Duration) error {
	clock.Wait(ctx, clock.System(), d, nil)
	return ctx.Err()
}

// show shows the events of a stream and gives the id of the last one.
func (c *chatTalk) show(body io.Reader, last string) (string, error) {
	scanner := bufio.NewScanner(body)
	scanner.Buffer(nil, maxChatEvent)
	var id, event, data string
	for scanner.Scan() {
		line := scanner.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "id":
			id = value
		case name == "event":
			event = value
		case name == "data":
			data = value
		case line == "" && event != "":
			if id != "" {
				last = id
			}
			done, err := c.showEvent(event, data)
			if done || err != nil {
				return last, err
			}
			event, data = "", ""
		}
	}
	if err := scanner.Err(); err != nil {
		return last, fmt.Errorf("read answer: %w", err)
	}
	return last, fmt.Errorf("read answer: %w", io.ErrUnexpectedEOF)
}

// showEvent shows an event and says whether it was the last one.
func (c *chatTalk) showEvent(event, data string) (bool, error) {
	switch event {
	case "token":
		var token struct{ Text string }
		if err := json.Unmarshal([]byte(data), &token); err != nil {
			return false, fmt.Errorf("read answer: %w", err)
		}
		_, err := io.WriteString(c.streams.out, terminalText(token.Text))
		return false, err
	case "error":
		problem := &chatProblem{}
		if err := json.Unmarshal([]byte(data), problem); err != nil {
			return false, fmt.Errorf("read answer: %w", err)
		}
		return false, problem
	case "done":
		var done struct{ Interrupted bool }
		if err := json.Unmarshal([]byte(data), &done); err != nil {
			return false, fmt.Errorf("read answer: %w", err)
		}
		end := "\n\n"
		if done.Interrupted {
			end = " […]\n\n"
		}
		_, err := io.WriteString(c.streams.out, end)
		return true, err
	}
	return false, nil
}

// call makes a call; an answer that is no success is an error.
func (c *chatTalk) call(ctx context.Context, method, path string, fields map[string]any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if fields != nil {
		encoded, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for name, values := range header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+c.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("call the gateway: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	problem := &chatProblem{Status: response.StatusCode, Title: http.StatusText(response.StatusCode)}
	if content, err := io.ReadAll(io.LimitReader(response.Body, maxChatLine)); err == nil {
		_ = json.Unmarshal(content, problem) // of something else than Prosa: the status says it all
	}
	return nil, problem
}

// terminalText is text without the codes that a terminal obeys, line ends and
// tabs excepted.
func terminalText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\u200D', r == '\uFFFD', unicode.IsPrint(r): // U+200D joins emoji
			return r
		}
		return '\u00B7'
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
