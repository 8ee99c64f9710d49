package main

import (
	"context"
	"fmt"
	"net/http"
)

// sendFirst sends the first customer's message.
func (d *demo) sendFirst(ctx context.Context) error {
	const text = "Olá, preciso de ajuda"
	if _, err := fmt.Fprintf(d.out, "\nA customer's message goes in (POST %s/webhooks/api): %q\nThe answer arrives at the webhook:\n\n", d.public, text); err != nil {
		return err
	}
	fields := map[string]any{"channelId": d.state.Channel.ID, "clientIdentifier": d.person, "type": "text", "text": text}
	return d.client.call(ctx, http.MethodPost, "/webhooks/api", "", fields, nil)
}

// converse makes the conversation of which a line says how to talk in it.
func (d *demo) converse(ctx context.Context) error {
	var created struct{ ID string }
	fields := map[string]any{"identifier": d.person}
	if err := d.client.call(ctx, http.MethodPost, "/conversation/create/"+d.state.Agent.ID, d.state.APIKey.Key, fields, &created); err != nil {
		return err
	}
	d.conversation = created.ID
	return nil
}

// explain says what to try.
func (d *demo) explain(c *demoCommand) error {
	data := "; its data is in " + c.DataDir
	if c.GatewayURL != "" {
		data = ""
	}
	_, err := fmt.Fprintf(d.out, `
Prosa is up at %[1]s%[5]s. Try, in another terminal:

  # Send a message as a customer; the answer appears here.
  curl -i %[1]s/webhooks/api -H 'Content-Type: application/json' -d '{"channelId":"%[2]s","clientIdentifier":"%[6]s","type":"text","text":"Meu pedido","postback":"index0"}'

  # The same by the Bot API, with variables; one callback carries the whole answer.
  curl -i %[1]s/%[3]s/api/%[7]s -H 'Authorization: %[8]s' -H 'Content-Type: application/json' -d '{"identifier":"%[6]s","input":{"text":"Olá"},"context":{"name":"Ana"}}'

  # Talk with the agent, and see its answer as it comes; or, with the binary, in the terminal.
  curl -Ns %[1]s/conversation/stream/%[9]s -H 'Authorization: Bearer %[4]s' -H 'Content-Type: application/json' -d '{"text":"Olá"}'
  PROSA_KEY=%[4]s prosa chat --agent=%[10]s --url=%[1]s

  # Find attendances, with what was said.
  curl -s %[1]s/contacts/%[3]s -H 'x-api-key: %[4]s' -H 'Content-Type: application/json' -d '{"filters":{"identifier":"%[6]s"},"flags":{"history":true,"events":true}}'

  # See what is set up.
  curl -s %[1]s/v1/instances/%[3]s -H 'Authorization: Bearer %[4]s'
  curl -s %[1]s/v1/instances/%[3]s/channels -H 'Authorization: Bearer %[4]s'
  curl -s %[1]s/v1/instances/%[3]s/agents -H 'Authorization: Bearer %[4]s'

All calls are listed at %[1]s/docs. Stop with Ctrl-C; the next start finds everything again.

`, d.public, d.state.Channel.ID, demoInstance, d.state.APIKey.Key, data, d.person, d.state.BotAPI.ID, d.state.BotAPI.Token,
		d.conversation, d.state.Agent.ID)
	return err
}
