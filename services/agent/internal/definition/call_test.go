package definition_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/definition"
)

func TestFaultsOfCalls(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"no URL", in("call: {}"), []string{"4:13: nodes.n.call.url: must be at least 1 characters"}},
		{"method", in("call: {url: 'https://a.example/', method: HEAD}"), []string{
			"4:49: nodes.n.call.method: must be in list [GET, POST, PUT, PATCH, DELETE]"}},
		{"save", in("call: {url: 'https://a.example/', save: contact.a}"), []string{
			"4:47: nodes.n.call.save: must be context. and 1 to 64 letters, digits and _"}},
		{"timeout", in("call: {url: 'https://a.example/', timeout: 31s}"), []string{"4:50: nodes.n.call.timeout: must be greater than 0s and less than or equal to 30s"}},
		{"onError", in("call: {url: 'https://a.example/', onError: gone}"), []string{`4:50: nodes.n.call.onError: there is no node "gone"`}},
		{"everything at once", `displayName: A
start: n
nodes:
  n:
    call:
      method: POST
      url: "https://{{ context.host }}/é{{ x1 }}"
      headers:
        Authorization: "Bearer {{ secret.a }}{{ x2 }}"
        host: a
        X-A: "{{ secret.a + secret.b }}"
      body: '{"a": {{ x3 }}'
    say: [{text: "{{ secret.a }}"}]
`, []string{
			"7:12: nodes.n.call.url: at character 32: undeclared reference to 'x1'",
			`9:24: nodes.n.call.headers.Authorization: at character 25: undeclared reference to 'x2'`,
			"10:15: nodes.n.call.headers.host: at character 1: this header belongs to the exchange itself and cannot be set",
			`11:14: nodes.n.call.headers["X-A"]: at character 15: a secret can only stand alone, as {{ secret.name }}, in a header of a call`,
			`11:14: nodes.n.call.headers["X-A"]: at character 4: a secret can only stand alone, as {{ secret.name }}, in a header of a call`,
			"12:13: nodes.n.call.body: at character 10: undeclared reference to 'x3'",
			"13:18: nodes.n.say[0].text: at character 4: a secret can only stand alone, as {{ secret.name }}, in a header of a call",
		}},
		{"host", in(`call: {url: "https://{{ context.host }}/"}`), []string{
			"4:19: nodes.n.call.url: at character 9: scheme, host and port must be constant text: a / or ? must come before the first expression"}},
		{"body", in(`call: {url: "https://a.example/", method: PUT, body: "a={{ input.text }}"}`), []string{
			"4:60: nodes.n.call.body: at character 1: is not JSON; if it is something else, the header Content-Type must say what"}},
		{"a loop by failures", in("call: {url: 'https://a.example/', onError: n}, ask: {text: a, save: context.a}"), []string{
			"4:50: nodes.n.call.onError: a loop without a question: n → n"}},
		{"a node that only a failure leads to", "displayName: A\nstart: a\nnodes:\n  a: {call: {url: 'https://a.example/', onError: b}}\n  b: {}", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := definition.ParseYAML([]byte(c.text))
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			var faults definition.Faults
			require.True(t, errors.As(err, &faults), "%v", err)
			got := make([]string, len(faults))
			for i, fault := range faults {
				got[i] = fault.String()
			}
			require.Equal(t, c.want, got)
		})
	}
}
