package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// demoAgent is deploy/examples/loja.yaml; a test keeps the two equal.
//
//go:embed loja.yaml
var demoAgent string

const (
	demoInstance = "demo"
	demoBase     = "/v1/instances/" + demoInstance
	// demoName is the display name of what the demo makes in its instance, by
	// which it finds that again.
	demoName = "Demo"
)

// demoState is what the next start must know of this one: kept in the data
// folder, because keys, tokens and signing secrets are shown only once. A start
// without it finds what there is, and has new ones made.
type demoState struct {
	Agent        demoMade `json:"agent"`
	Channel      demoMade `json:"channel"`
	BotAPI       demoMade `json:"botApi"`
	APIKey       demoMade `json:"apiKey"`
	ReceiverAddr string   `json:"receiverAddr"`
}

// demoMade is what is known of one resource.
type demoMade struct {
	ID            string `json:"id"`
	Key           string `json:"key,omitempty"`
	Token         string `json:"token,omitempty"`
	SigningSecret string `json:"signingSecret,omitempty"`
}

// read reads the state of the last start, if there is one.
func (s *demoState) read(file string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(content, s)
	}
	if err != nil {
		return fmt.Errorf("read state of the demo in %s: %w", file, err)
	}
	return nil
}

// write keeps the state, for its owner alone.
func (s *demoState) write(file string) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err == nil {
		err = os.WriteFile(file, append(content, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep state of the demo: %w", err)
	}
	return nil
}

// demoResource is something that there has to be in the demo's instance.
type demoResource struct {
	collection, name string
	// fields are given when it is made, and set again at each start where
	// asserted is true.
	fields   map[string]any
	asserted bool
	// renew are the verbs that make its secrets anew.
	renew []string
	known *demoMade
}

// prepare has instance, agent, channel, integration and key be there, with their
// webhooks pointed at the receiver. A start that is cut off anywhere is gone on
// with by the next one.
func (d *demo) prepare(ctx context.Context, receiverURL string) error {
	err := d.call(ctx, http.MethodPost, "/v1/instances", map[string]any{"slug": demoInstance, "displayName": demoName}, nil)
	if err != nil && !answered(err, http.StatusConflict) { // a conflict: it is there
		return err
	}
	var definition struct {
		DisplayName string `yaml:"displayName"`
	}
	if err := yaml.Unmarshal([]byte(demoAgent), &definition); err != nil {
		return fmt.Errorf("read definition: %w", err)
	}
	if err := d.ensure(ctx, demoResource{
		collection: "agents", name: definition.DisplayName, known: &d.state.Agent,
		fields: map[string]any{"definition": demoAgent},
	}); err != nil {
		return err
	}
	if err := d.ensure(ctx, demoResource{
		collection: "channels", name: demoName, known: &d.state.Channel, renew: []string{"rotateSecret"}, asserted: true,
		fields: map[string]any{"displayName": demoName, "agentId": d.state.Agent.ID, "webhookUrl": receiverURL},
	}); err != nil {
		return err
	}
	if err := d.ensure(ctx, demoResource{
		collection: "botApis", name: demoName, known: &d.state.BotAPI, renew: []string{"rotateSecret", "rotateToken"}, asserted: true,
		fields: map[string]any{
			"displayName": demoName, "agentId": d.state.Agent.ID, "includeContext": true, "callbackUrl": receiverURL, "callbackToken": "demo",
		},
	}); err != nil {
		return err
	}
	return d.ensureKey(ctx)
}

// ensure takes the resource that is known, else one of that name, whose secrets
// nobody knows any more, else makes one.
func (d *demo) ensure(ctx context.Context, r demoResource) error {
	path := demoBase + "/" + r.collection
	if r.known.ID != "" {
		err := d.assert(ctx, path, r)
		if !answered(err, http.StatusNotFound) { // somebody has deleted it, or this is another store
			return err
		}
	}
	*r.known = demoMade{}
	found, err := d.find(ctx, r.collection, r.name)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return d.call(ctx, http.MethodPost, path, r.fields, r.known)
	}
	r.known.ID = found[0]
	for _, verb := range r.renew {
		var renewed demoMade
		if err := d.call(ctx, http.MethodPost, path+"/"+found[0]+":"+verb, map[string]any{}, &renewed); err != nil {
			return err
		}
		if renewed.Token != "" {
			r.known.Token = renewed.Token
		}
		if renewed.SigningSecret != "" {
			r.known.SigningSecret = renewed.SigningSecret
		}
	}
	return d.assert(ctx, path, r)
}

// assert has a resource that there may be be as it should.
func (d *demo) assert(ctx context.Context, path string, r demoResource) error {
	if !r.asserted {
		return d.call(ctx, http.MethodGet, path+"/"+r.known.ID, nil, nil)
	}
	return d.call(ctx, http.MethodPatch, path+"/"+r.known.ID, r.fields, nil)
}

// ensureKey takes the key that is known if it is there, else makes one, and
// deletes those of earlier starts, which nobody knows any more.
func (d *demo) ensureKey(ctx context.Context) error {
	if d.state.APIKey.ID != "" {
		// Its use would not tell: a deleted key may be good for a few seconds more.
		err := d.call(ctx, http.MethodGet, demoBase+"/apiKeys/"+d.state.APIKey.ID, nil, nil)
		if !answered(err, http.StatusNotFound) {
			return err
		}
	}
	lost, err := d.find(ctx, "apiKeys", demoName)
	if err != nil {
		return err
	}
	for _, id := range lost {
		if err := d.call(ctx, http.MethodDelete, demoBase+"/apiKeys/"+id, nil, nil); err != nil {
			return err
		}
	}
	d.state.APIKey = demoMade{}
	fields := map[string]any{"displayName": demoName, "scopes": []string{"contacts.read", "conversations", "manage"}}
	return d.call(ctx, http.MethodPost, demoBase+"/apiKeys", fields, &d.state.APIKey)
}

// find gives the ids of the resources of a display name.
func (d *demo) find(ctx context.Context, collection, name string) ([]string, error) {
	var found []string
	for token := ""; ; {
		var page map[string]json.RawMessage
		query := url.Values{"pageSize": {"500"}, "pageToken": {token}}
		if err := d.call(ctx, http.MethodGet, demoBase+"/"+collection+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		var resources []struct{ ID, DisplayName string }
		if err := json.Unmarshal(page[collection], &resources); err != nil {
			return nil, fmt.Errorf("read %s: %w", collection, err)
		}
		for _, resource := range resources {
			if resource.DisplayName == name {
				found = append(found, resource.ID)
			}
		}
		if err := json.Unmarshal(page["nextPageToken"], &token); err != nil {
			return nil, fmt.Errorf("read %s: %w", collection, err)
		}
		if token == "" {
			return found, nil
		}
	}
}

// call makes a call with the root key.
func (d *demo) call(ctx context.Context, method, path string, fields, result any) error {
	return d.client.call(ctx, method, path, d.rootKey, fields, result)
}
