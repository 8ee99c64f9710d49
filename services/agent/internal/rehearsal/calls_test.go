package rehearsal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/rehearsal"
)

const calling = `
displayName: Chama
fallback: a
nodes:
  a:
    call: {method: POST, url: "https://a.example/{{ input.text }}", body: '{"t": {{ input.text }}}', save: context.x, onError: e}
    say: [{text: "a {{ context.x }}"}]
    goto: b
  b: {call: {url: "https://b.example/?v={{ context.x }}", save: context.y}, say: [{text: "b {{ context.y.z }}"}], end: true}
  e: {say: [{text: e}]}
`

func TestCallsAreAnsweredAsWritten(t *testing.T) {
	outcomes, err := rehearsal.Run(t.Context(), define(t, calling), []byte(`
calls:
  a: {text: um}
  b: {json: {z: 2}}
cases:
  - name: as for all
    turns:
      - user: oi
        bot: [a um, b 2]
        called: ['POST https://a.example/oi {"t": "oi"}', "GET https://b.example/?v=um"]
        end: true
      - {user: oi, bot: [a um, b 2]}
  - name: one after the other, and the last again
    calls:
      a: [{status: 503, text: Down}, {error: timeout}, {error: network}, {status: 201, json: "dois"}]
    turns:
      - {user: a, bot: [e], called: ['POST https://a.example/a {"t": "a"}'], context: {x: ""}}
      - {user: a, bot: [e]}
      - {user: a, bot: [e]}
      - {user: a, bot: [a dois, b 2]}
      - {user: a, bot: [a dois, b 2]}
      - {user: "..", bot: [e], called: [a could not be sent]}
  - name: nothing answered
    calls: {a: {status: 204}, b: {json: null}}
    turns:
      - {user: a, bot: ["a ", "b "], called: ['POST https://a.example/a {"t": "a"}', "GET https://b.example/?v="]}
`))
	require.NoError(t, err)
	require.Len(t, outcomes, 3)
	for _, o := range outcomes {
		require.Empty(t, o.Differences, o.Case)
	}
}

func TestCallsThatAreNotAsWritten(t *testing.T) {
	outcomes, err := rehearsal.Run(t.Context(), define(t, calling), []byte(`
cases:
  - name: a
    calls: {a: {text: um}}
    turns:
      - {user: oi, called: ["POST https://a.example/"]}
`))
	require.NoError(t, err)
	require.Equal(t, []rehearsal.Difference{{Turn: 1, Input: "user: oi", Lines: []string{
		"- call: POST https://a.example/", `+ call: POST https://a.example/oi {"t": "oi"}`, "+ call: GET https://b.example/?v=um",
		"+ call: GET https://b.example/?v=um", "+ there is no answer for b in calls",
	}}}, outcomes[0].Differences)
}

func TestAnswersOfCallsThatCannotBeRead(t *testing.T) {
	for calls, want := range map[string]string{
		"{e: {text: a}}":                  `calls: there is no node "e" with a call`,
		"{gone: {text: a}}":               `calls: there is no node "gone" with a call`,
		"{a: []}":                         "a list of answers has at least one",
		"{a: {txt: a}}":                   `"txt" is unknown; there are status, json, text and error`,
		"{a: {json: 1, text: a}}":         "an answer is json or text",
		"{a: {status: 99}}":               "status must be from 100 to 599",
		"{a: {status: 600}}":              "status must be from 100 to 599",
		"{a: {status: ok}}":               "cannot unmarshal",
		"{a: {error: refused}}":           "error is timeout or network, and stands alone",
		"{a: {error: timeout, text: a}}":  "error is timeout or network, and stands alone",
		"{a: {json: {1: 2}}}":             "invalid type: map",
		"{a: [{text: a}, {error: maybe}]": "did not find expected",
	} {
		for _, text := range []string{
			"calls: " + calls + "\ncases:\n  - {name: a, turns: [{user: a}]}",
			"cases:\n  - {name: a, calls: " + calls + ", turns: [{user: a}]}",
		} {
			_, err := rehearsal.Run(t.Context(), define(t, calling), []byte(text))
			require.ErrorContains(t, err, want, "%q", text)
		}
	}
}
