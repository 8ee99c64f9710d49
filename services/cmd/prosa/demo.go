package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/prosa-chat/prosa/services/internal/app"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// demoAgent is deploy/examples/loja.yaml; a test keeps the two equal.
//
//go:embed loja.yaml
var demoAgent string

const (
	demoInstance = "demo"
	// demoWithin is how long the first answer may take.
	demoWithin = 30 * time.Second
	// demoTries is how often a call is made that is asked to wait, a second each
	// time.
	demoTries = 5
	// demoQuiet is how long after a message no other must come for the answer
	// to be whole.
	demoQuiet = 500 * time.Millisecond
)

type demoCommand struct {
	config.Settings `embed:""`
}

// demoState is what a second start must know of the first: kept in the data
// folder, because a key and a signing secret are shown only once.
type demoState struct {
	AgentID       string  `json:"agentId"`
	ChannelID     string  `json:"channelId"`
	SigningSecret string  `json:"signingSecret"`
	Key           string  `json:"key"`
	WebhookURL    string  `json:"webhookUrl"`
	BotAPI        demoBot `json:"botApi"`
	// Starts counts the starts: each sends its message as somebody new.
	Starts int `json:"starts"`
}

// demoBot is the integration of the Bot API.
type demoBot struct {
	ID            string `json:"id"`
	Token         string `json:"token"`
	SigningSecret string `json:"signingSecret"`
}

// Run serves everything, sends a first message, shows its answer, says what to
// try, and stays up.
func (c *demoCommand) Run(ctx context.Context, s streams) error {
	c.EgressHTTP = true
	c.EgressAllow = append(c.EgressAllow, "127.0.0.1/32")
	if c.LogLevel == "info" {
		c.LogLevel = "warn" // what is shown is the conversation
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan app.Running, 1)
	ended := make(chan error, 1)
	go func() {
		defer cancel() // what there is to show ends with it
		ended <- app.Run(ctx, app.Options{
			Settings: c.Settings,
			Version:  version,
			Log:      s.err,
			Terminal: isTerminal(s.err),
			Ready:    func(r app.Running) { ready <- r },
		})
	}()
	select {
	case err := <-ended:
		return err
	case running := <-ready:
		err := c.show(ctx, s.out, running)
		if ctx.Err() != nil {
			err = nil // cut off, by the signal or by what ended
		}
		cancel()
		return errors.Join(err, <-ended)
	}
}

// show is the demonstration itself; it returns when ctx ends.
func (c *demoCommand) show(ctx context.Context, out io.Writer, running app.Running) error {
	d := demo{base: "http://" + running.HTTPAddr, rootKey: running.RootKey, out: out, file: filepath.Join(c.DataDir, "demo.json")}
	arrived := make(chan struct{}, 1)
	listener, err := d.listen(ctx)
	if err != nil {
		return err
	}
	handler := make(chan http.Handler, 1)
	served := make(chan error, 1)
	go func() {
		served <- serveHTTP(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := <-handler
			handler <- h
			h.ServeHTTP(w, r)
		}))
	}()
	if err := d.prepare(ctx, "http://"+listener.Addr().String()+"/"); err != nil {
		return err
	}
	var secrets []webhook.Secret
	for _, text := range []string{d.state.SigningSecret, d.state.BotAPI.SigningSecret} {
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			return fmt.Errorf("read signing secret: %w", err)
		}
		secrets = append(secrets, secret)
	}
	show := printReceived(out)
	handler <- receiver.New(receiver.Options{
		Secrets: secrets,
		Clock:   clock.System(),
		Show: func(r receiver.Received) {
			show(r)
			select {
			case arrived <- struct{}{}:
			default:
			}
		},
	})

	if err := d.sendFirst(ctx); err != nil {
		return err
	}
	if err := awaitAnswer(ctx, arrived); err != nil {
		if ctx.Err() != nil {
			return <-served
		}
		return err
	}
	if err := d.converse(ctx); err != nil {
		return err
	}
	if err := d.explain(); err != nil {
		return err
	}
	return <-served
}

// awaitAnswer waits for the first message of an answer, and then until no more
// come.
func awaitAnswer(ctx context.Context, arrived <-chan struct{}) error {
	timer := clock.System().NewTimer(demoWithin)
	defer timer.Stop()
	for answered := false; ; answered = true {
		select {
		case <-arrived:
			timer.Reset(demoQuiet)
		case <-timer.C():
			if !answered {
				return fmt.Errorf("no answer within %s", demoWithin)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// demo prepares and explains.
type demo struct {
	base, rootKey, file string
	out                 io.Writer
	state               demoState
	conversation        string
}

// listen takes the port of the first start when it is free, so that webhooks
// still under way arrive; else any.
func (d *demo) listen(ctx context.Context) (net.Listener, error) {
	content, err := os.ReadFile(d.file)
	switch {
	case err == nil:
		if err := json.Unmarshal(content, &d.state); err != nil {
			return nil, fmt.Errorf("read %s: %w", d.file, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read state of the demo: %w", err)
	}
	var port string
	if d.state.WebhookURL != "" {
		if target, err := url.Parse(d.state.WebhookURL); err == nil {
			port = target.Port()
		}
	}
	var config net.ListenConfig
	if port != "" {
		if listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return listener, nil
		}
	}
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	return listener, nil
}

// prepare makes instance, agent, channel, integration and key at the first
// start, and points them here at later ones. Every create carries an idempotency
// key, so that a start that was cut off is gone on with.
func (d *demo) prepare(ctx context.Context, webhookURL string) error {
	base := "/v1/instances/" + demoInstance
	if d.state.ChannelID == "" {
		err := d.create(ctx, "/v1/instances", map[string]any{"slug": demoInstance, "displayName": "Demo"}, nil)
		var answered *answeredError
		if err != nil && (!errors.As(err, &answered) || answered.status != http.StatusConflict) {
			return err // a conflict: an earlier start was cut off after this
		}
		var agent struct{ ID string }
		if err := d.create(ctx, base+"/agents", map[string]any{"definition": demoAgent}, &agent); err != nil {
			return err
		}
		var channel struct{ ID, SigningSecret string }
		fields := map[string]any{"displayName": "Demo", "agentId": agent.ID, "webhookUrl": "http://127.0.0.1/"}
		if err := d.create(ctx, base+"/channels", fields, &channel); err != nil {
			return err
		}
		var key struct{ Key string }
		scopes := map[string]any{"displayName": "Demo", "scopes": []string{"contacts.read", "conversations", "manage"}}
		if err := d.create(ctx, base+"/apiKeys", scopes, &key); err != nil {
			return err
		}
		d.state.AgentID, d.state.ChannelID, d.state.SigningSecret, d.state.Key = agent.ID, channel.ID, channel.SigningSecret, key.Key
	}
	if d.state.BotAPI.ID == "" {
		fields := map[string]any{
			"displayName": "Demo", "agentId": d.state.AgentID, "includeContext": true, "callbackUrl": "http://127.0.0.1/", "callbackToken": "demo",
		}
		if err := d.create(ctx, base+"/botApis", fields, &d.state.BotAPI); err != nil {
			return err
		}
		d.state.WebhookURL = "" // it is pointed here below
	}
	if d.state.WebhookURL != webhookURL {
		for path, field := range map[string]string{"/channels/" + d.state.ChannelID: "webhookUrl", "/botApis/" + d.state.BotAPI.ID: "callbackUrl"} {
			if err := d.call(ctx, http.MethodPatch, base+path, "", d.rootKey, map[string]any{field: webhookURL}, nil); err != nil {
				return err
			}
		}
		d.state.WebhookURL = webhookURL
	}
	d.state.Starts++
	content, err := json.MarshalIndent(d.state, "", "  ")
	if err != nil {
		return fmt.Errorf("keep state of the demo: %w", err)
	}
	if err := os.WriteFile(d.file, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep state of the demo: %w", err)
	}
	return nil
}

func (d *demo) create(ctx context.Context, path string, fields, result any) error {
	return d.call(ctx, http.MethodPost, path, "demo", d.rootKey, fields, result)
}

// sendFirst sends the first customer's message.
func (d *demo) sendFirst(ctx context.Context) error {
	const text = "Olá, preciso de ajuda"
	if _, err := fmt.Fprintf(d.out, "\nA customer's message goes in (POST %s/webhooks/api): %q\nThe answer arrives at the webhook:\n\n", d.base, text); err != nil {
		return err
	}
	return d.call(ctx, http.MethodPost, "/webhooks/api", "", "", d.message(text), nil)
}

func (d *demo) message(text string) map[string]any {
	return map[string]any{"channelId": d.state.ChannelID, "clientIdentifier": d.person(), "type": "text", "text": text}
}

// person is whose messages this start sends.
func (d *demo) person() string { return fmt.Sprintf("user-%d", d.state.Starts) }

// call makes one call of a REST surface.
func (d *demo) call(ctx context.Context, method, path, idempotencyKey, key string, fields, result any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, d.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	if idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", idempotencyKey)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return &answeredError{path: path, status: response.StatusCode, body: string(answer)}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	return nil
}

// answeredError is an answer other than success.
type answeredError struct {
	path   string
	status int
	body   string
}

func (e *answeredError) Error() string {
	return fmt.Sprintf("call %s: status %d: %s", e.path, e.status, e.body)
}

// converse makes the conversation of which a line says how to talk in it. A
// process that has just started may have to ask callers with keys to wait.
func (d *demo) converse(ctx context.Context) error {
	var created struct{ ID string }
	fields := map[string]any{"identifier": d.person()}
	for tries := 1; ; tries++ {
		err := d.call(ctx, http.MethodPost, "/conversation/create/"+d.state.AgentID, "", d.state.Key, fields, &created)
		var answered *answeredError
		if err == nil {
			d.conversation = created.ID
			return nil
		}
		if !errors.As(err, &answered) || answered.status != http.StatusTooManyRequests || tries == demoTries {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// explain says what to try.
func (d *demo) explain() error {
	_, err := fmt.Fprintf(d.out, `
Prosa is up at %[1]s; its data is in %[5]s. Try, in another terminal:

  # Send a message as a customer; the answer appears here.
  curl -i %[1]s/webhooks/api -H 'Content-Type: application/json' -d '{"channelId":"%[2]s","clientIdentifier":"%[6]s","type":"text","text":"Meu pedido","postback":"index0"}'

  # The same by the Bot API, with variables; one callback carries the whole answer.
  curl -i %[1]s/%[3]s/api/%[7]s -H 'Authorization: %[8]s' -H 'Content-Type: application/json' -d '{"identifier":"%[6]s","input":{"text":"Olá"},"context":{"name":"Ana"}}'

  # Talk with the agent, and see its answer as it comes; or in the terminal.
  curl -Ns %[1]s/conversation/stream/%[9]s -H 'Authorization: Bearer %[4]s' -H 'Content-Type: application/json' -d '{"text":"Olá"}'
  PROSA_KEY=%[4]s prosa chat --agent=%[10]s --url=%[1]s

  # Find attendances, with what was said.
  curl -s %[1]s/contacts/%[3]s -H 'x-api-key: %[4]s' -H 'Content-Type: application/json' -d '{"filters":{"identifier":"%[6]s"},"flags":{"history":true,"events":true}}'

  # See what is set up.
  curl -s %[1]s/v1/instances/%[3]s -H 'Authorization: Bearer %[4]s'
  curl -s %[1]s/v1/instances/%[3]s/channels -H 'Authorization: Bearer %[4]s'
  curl -s %[1]s/v1/instances/%[3]s/agents -H 'Authorization: Bearer %[4]s'

All calls are listed at %[1]s/docs. Stop with Ctrl-C; the next start finds everything again.

`, d.base, d.state.ChannelID, demoInstance, d.state.Key, filepath.Dir(d.file), d.person(), d.state.BotAPI.ID, d.state.BotAPI.Token,
		d.conversation, d.state.AgentID)
	return err
}
