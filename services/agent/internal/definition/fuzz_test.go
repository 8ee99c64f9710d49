package definition_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

func FuzzParseYAML(f *testing.F) {
	contract, err := os.ReadFile("testdata/contract.yaml")
	require.NoError(f, err)
	f.Add(contract)
	for _, seed := range []string{
		smallest, `{"displayName": "\ud83d\ude00", "nodes": {"a": {"end": true}}, "start": "a"}`, "a: &a [*a]", "displayName: A\n---\n",
		"displayName: A\nstart: a\nnodes: {a: {say: [{list: {text: a, sections: [{label: b, items: [{label: c, goto: a}]}]}}]}}",
		"displayName: A\nnodes: {a: {ask: {date: x, save: context.a, as: 'regex: a', retry: [a]}, branch: [{when: 'true', goto: a}]}}",
		"? [a]\n: b", "nodes: {? {a: b} : {}}", "displayName: !!binary aaaa", "nodes: {a: {call: {url: a, timeout: {seconds: 1x}}}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		def, err := definition.ParseYAML(text)
		if err != nil {
			var faults definition.Faults
			require.ErrorAs(t, err, &faults)
			require.NotEmpty(t, faults)
			for _, fault := range faults {
				require.Positive(t, fault.Line)
				require.Positive(t, fault.Column)
				require.NotEmpty(t, fault.Reason)
			}
			return
		}
		require.Empty(t, definition.Check(def))
		_, err = flow.Compile(def)
		require.NoError(t, err, "what has no fault compiles")
	})
}
