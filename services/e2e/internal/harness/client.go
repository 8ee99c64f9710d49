package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client calls the REST surfaces.
type Client struct {
	// Base is the gateway's URL.
	Base string
	// HTTP makes the calls.
	HTTP *http.Client
	// TimeZone is that of the instances that Create makes; empty for the default.
	TimeZone string
}

// NewClient makes a client that keeps enough connections for a load test.
func NewClient(base string) *Client {
	return &Client{Base: base, HTTP: &http.Client{
		Timeout:   60 * time.Second,
		Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512},
	}}
}

// Close gives the connections back.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// Call sends value as JSON with the root key and reads the answer into result;
// a status outside 2xx is an error.
func (c *Client) Call(ctx context.Context, method, path string, value, result any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+RootKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: status %d: %s", method, path, response.StatusCode, answer)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// Setup is an instance with an agent and a channel.
type Setup struct {
	Instance, AgentID, ChannelID, SigningSecret, Key string
}

// Echo is the definition of the smallest agent: it says what it is told.
const Echo = `{displayName: Eco, fallback: eco, nodes: {eco: {say: [{text: "eco: {{ input.text }}"}]}}}`

// Create makes an instance of that name with an agent, a channel to webhookURL
// and a key with every scope.
func (c *Client) Create(ctx context.Context, instance, definition, webhookURL string, test bool) (Setup, error) {
	s := Setup{Instance: instance}
	if err := c.Call(ctx, http.MethodPost, "/v1/instances", map[string]any{"slug": instance, "timeZone": c.TimeZone}, nil); err != nil {
		return s, err
	}
	base := "/v1/instances/" + instance
	var agent struct{ ID string }
	if err := c.Call(ctx, http.MethodPost, base+"/agents", map[string]any{"definition": definition}, &agent); err != nil {
		return s, err
	}
	var channel struct{ ID, SigningSecret string }
	fields := map[string]any{"displayName": "channel", "agentId": agent.ID, "webhookUrl": webhookURL, "test": test}
	if err := c.Call(ctx, http.MethodPost, base+"/channels", fields, &channel); err != nil {
		return s, err
	}
	var key struct{ Key string }
	scopes := map[string]any{"displayName": "tests", "scopes": []string{"contacts.read", "conversations", "manage"}}
	if err := c.Call(ctx, http.MethodPost, base+"/apiKeys", scopes, &key); err != nil {
		return s, err
	}
	s.AgentID, s.ChannelID, s.SigningSecret, s.Key = agent.ID, channel.ID, channel.SigningSecret, key.Key
	return s, nil
}

// Send posts a customer's message. It gives the status and the message's id; a
// call without an answer is an error: nobody knows whether it was stored.
func (c *Client) Send(ctx context.Context, channelID, person, text, idempotencyKey string) (status int, id string, err error) {
	body, err := json.Marshal(map[string]string{"channelId": channelID, "clientIdentifier": person, "type": "text", "text": text})
	if err != nil {
		return 0, "", fmt.Errorf("encode message: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+"/webhooks/api", bytes.NewReader(body))
	if err != nil {
		return 0, "", fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", idempotencyKey)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("send message: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, "", fmt.Errorf("read answer: %w", err)
	}
	return response.StatusCode, response.Header.Get("Prosa-Message-Id"), nil
}
