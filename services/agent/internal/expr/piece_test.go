package expr_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

func TestPieces(t *testing.T) {
	compiler, err := expr.NewCompiler()
	require.NoError(t, err)
	compiled, err := compiler.SecretTemplate("é {{ contact.name }}{{secret.erp_2}}-{{ contact.none }}!")
	require.NoError(t, err)
	want := []expr.Piece{
		{Text: "é ", Position: 1}, {Expression: true, Position: 3}, {Secret: "erp_2", Position: 21}, {Text: "-", Position: 37},
		{Expression: true, Position: 38}, {Text: "!", Position: 56},
	}
	require.Equal(t, want, compiled.Pieces())
	want[1].Text = "Ana"
	require.Equal(t, want, compiled.RenderPieces(t.Context(), expr.NewScope(values(t))))
	require.Equal(t, "é Ana-!", compiled.Render(t.Context(), expr.NewScope(values(t))), "a secret is nothing to who does not know secrets")

	plain := template(t, "olá")
	require.Equal(t, []expr.Piece{{Text: "olá", Position: 1}}, plain.Pieces())
	none := template(t, "")
	require.Empty(t, none.Pieces())

	for source, position := range map[string]int{
		"{{ secret.a + 'b' }}": 4, "{{ secret['a'] }}": 4, "{{ has(secret.a) }}": 8, "{{ secret }}": 4, "{{ secret.a-b }}": 4,
	} {
		_, err := compiler.SecretTemplate(source)
		var faults expr.Errors
		require.ErrorAs(t, err, &faults, source)
		require.Equal(t, position, faults[0].Position, source)
	}
	_, err = compiler.Template("{{ secret.erp }}")
	require.EqualError(t, err, "at character 4: a secret can only stand alone, as {{ secret.name }}, in a header of a call")
}

func TestJSONOfATemplate(t *testing.T) {
	for _, c := range []struct{ source, want, sample string }{
		{`{"a": 1}`, `{"a": 1}`, `{"a": 1}`},
		{`{"a": "<{{ contact.name }}>"}`, `{"a": "<Ana>"}`, `{"a": "<*>"}`},
		{`{"a": {{ contact.name }}}`, `{"a": "Ana"}`, `{"a": null}`},
		{`["{{ '\"\\\n<' }}", {{ '\"\\\n<' }}]`, `["\"\\\n<", "\"\\\n<"]`, `["*", null]`},
		{`["\"{{ contact.name }}", {{ 1 }}]`, `["\"Ana", 1]`, `["\"*", null]`},
		{`["\\", {{ contact.name }}]`, `["\\", "Ana"]`, `["\\", null]`},
		{`[{{ contact.none }}, "{{ contact.none }}", {{ context.none }}]`, `[null, "", null]`, `[null, "*", null]`},
		{`[{{ context.order.total }}, {{ true }}, {{ [1, 'a'] }}, {{ {'b': null} }}, {{ 1.0 / 0.0 }}]`, `[12.5, true, [1,"a"], {"b":null}, null]`,
			`[null, null, null, null, null]`},
		{`[{{ now }}, {{ duration('90s') }}, {{ b'x' }}, {{ input }}]`, `["2026-03-02T08:30:00-03:00", "90s", "x", null]`, `[null, null, null, null]`},
		{`["{{ context.order.items[0] }}", {{ 'a\u0000b' }}]`, `["{\"name\":\"Caneta\"}", "ab"]`, `["*", null]`},
	} {
		compiled := template(t, c.source)
		require.Equal(t, c.want, compiled.RenderJSON(t.Context(), expr.NewScope(values(t))), c.source)
		require.Equal(t, c.sample, compiled.SampleJSON("*"), c.source)
	}
}
