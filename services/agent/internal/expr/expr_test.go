package expr_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var saoPaulo = time.FixedZone("America/Sao_Paulo", -3*3600)

func values(t testing.TB) expr.Values {
	t.Helper()
	order, err := structpb.NewValue(map[string]any{
		"status": "shipped", "total": 12.5, "items": []any{map[string]any{"name": "Caneta"}, map[string]any{"name": "<Lápis>"}},
	})
	require.NoError(t, err)
	return expr.Values{
		Contact:  map[string]string{"name": "Ana", "e-mail": "ana@example.com"},
		Context:  map[string]*structpb.Value{"order": order, "count": structpb.NewStringValue("2"), "none": structpb.NewNullValue()},
		Input:    expr.Input{Text: "Olá", Postback: "index1"},
		Intent:   expr.Intent{Name: "greeting", Confidence: 0.75},
		Now:      time.Date(2026, 3, 2, 8, 30, 0, 0, saoPaulo),
		Instance: expr.Instance{Slug: "acme", Name: "Acme"},
		Agent:    expr.Agent{ID: "64a1b2c3d4e5f6a7b8c9d0e1", Name: "Loja"},
	}
}

func template(t testing.TB, source string) expr.Template {
	t.Helper()
	compiler, err := expr.NewCompiler()
	require.NoError(t, err)
	compiled, err := compiler.Template(source)
	require.NoError(t, err, source)
	return compiled
}

func TestTemplateRenders(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"", ""},
		{"Olá, mundo!", "Olá, mundo!"},
		{"a } b }} c", "a } b }} c"},
		{"Olá{{ has(contact.name) ? ', ' + contact.name : '' }}!", "Olá, Ana!"},
		{"Olá{{ has(contact.nick) ? ', ' + contact.nick : '' }}!", "Olá!"},
		{"[{{ contact.nick }}]", "[]"},
		{"{{ contact['e-mail'] }}", "ana@example.com"},
		{"{{context.order.status}}-{{ context.order.items[1].name }}", "shipped-<Lápis>"},
		{"{{ context.order.items[7].name }}", ""},
		{"{{ context.order.status.deeper }}", ""},
		{"{{ has(context.order.missing) }}", "false"},
		{"{{ context.none }}", ""},
		{"{{ context.order.total }} {{ 3.0 }} {{ 7 }} {{ 7u }} {{ 0.1 + 0.2 }}", "12.5 3 7 7 0.30000000000000004"},
		{"{{ 1.0 / 0.0 }}{{ 0.0 / 0.0 }}", ""},
		{"{{ 1 / 0 }}", ""},
		{"{{ true }} {{ null }}", "true "},
		{"{{ now }}", "2026-03-02T08:30:00-03:00"},
		{"{{ now.getHours() < 12 ? 'Bom dia' : 'Boa tarde' }}", "Bom dia"},
		{"{{ duration('90s') }}", "90s"},
		{"{{ b'abc' }}{{ b'\\xff' }}", "abc"},
		{"{{ [1, 2.5, 'a<b'] }}", `[1,2.5,"a<b"]`},
		{"{{ {'b': 1, 'a': {'c': true}} }}", `{"a":{"c":true},"b":1}`},
		{"{{ {'a': {'c': 1}}.a.c }}", "1"},
		{"{{ '}}' }}{{ \"{{\" }}", "}}{{"},
		{`{{ 'it\'s }}' }}`, "it's }}"},
		{`{{ r'\' + '}}' }}`, `\}}`},
		{`{{ """a"}}b""" }}`, `a"}}b`},
		{"{{ input.text }}|{{ input.postback }}|{{ input.label }}", "Olá|index1|"},
		{"{{ has(input.label) }} {{ input.label == '' }} {{ has(input.text) }}", "false true true"},
		{"{{ intent.name }} {{ intent.confidence > 0 }}", "greeting true"},
		{"{{ instance.slug }}/{{ instance.name }}/{{ agent.id }}/{{ agent.name }}", "acme/Acme/64a1b2c3d4e5f6a7b8c9d0e1/Loja"},
		{"{{ int(context.count) + 1 }}", "3"},
		{"{{ context.order.items.map(i, i.name) }}", `["Caneta","<Lápis>"]`},
		{"a{{ 'x\\u0000y' }}b", "axyb"},
		{"{{ input }}", ""},
		{"{{ [input] }}", ""},
		{"{{ input == input }} {{ input == dyn(agent) }} {{ dyn(input) == 1 }}", "true false false"},
		{"{{ type(input) == type(input) }} {{ type(input) == type(agent) }} {{ type(input) }}", "true false "},
		{"{{ prosa.Input{text: 'a'}.text }}", ""},
		{"{{ type(1) }}", ""},
		{"{{ dyn(input).text }}", ""},
		{"linha 1\n{{ contact\n.name }}", "linha 1\nAna"},
	} {
		t.Run(c.source, func(t *testing.T) {
			compiled := template(t, c.source)
			require.Equal(t, c.want, compiled.Render(t.Context(), expr.NewScope(values(t))))
		})
	}
}

func TestTemplateFaults(t *testing.T) {
	for _, c := range []struct {
		source string
		want   []expr.Error
	}{
		{"é {{ foo }}", []expr.Error{{6, "undeclared reference to 'foo'"}}},
		{"{{ foo }} e {{ bar }}", []expr.Error{{4, "undeclared reference to 'foo'"}, {16, "undeclared reference to 'bar'"}}},
		{"a {{ b", []expr.Error{{3, "{{ without its }}"}}},
		{"a {{ 'b }}", []expr.Error{{3, "{{ without its }}"}}},
		{"{{ {'a': 1 }}", []expr.Error{{1, "{{ without its }}"}}},
		{"{{ }}", []expr.Error{{3, "the expression is empty"}}},
		{"{{ input.txt }}", []expr.Error{{9, "undefined field 'txt'"}}},
		{"{{ has(agent.color) }}", []expr.Error{{7, "undefined field 'color'"}}},
		{"{{ 1 + 'a' }}", []expr.Error{{6, "found no matching overload for '_+_' applied to '(int, string)'"}}},
		{"{{ 'a'\n + foo }}", []expr.Error{{11, "undeclared reference to 'foo'"}}},
	} {
		t.Run(c.source, func(t *testing.T) {
			compiler, err := expr.NewCompiler()
			require.NoError(t, err)
			_, err = compiler.Template(c.source)
			var faults expr.Errors
			require.ErrorAs(t, err, &faults)
			require.Equal(t, expr.Errors(c.want), faults)
			_, again := compiler.Template(c.source)
			require.Equal(t, err, again, "what is remembered must not differ")
		})
	}
}

func TestSyntaxErrorIsPlaced(t *testing.T) {
	compiler, err := expr.NewCompiler()
	require.NoError(t, err)
	_, err = compiler.Template("olá {{ 1 + }}")
	var faults expr.Errors
	require.ErrorAs(t, err, &faults)
	require.Contains(t, faults[0].Reason, "Syntax error")
	require.Equal(t, 12, faults[0].Position)
}

func TestExpressionLengthLimit(t *testing.T) {
	compiler, err := expr.NewCompiler()
	require.NoError(t, err)
	atLimit := "'" + strings.Repeat("é", expr.MaxExpression-2) + "'"
	_, err = compiler.Condition(atLimit + " == 'a'")
	require.ErrorContains(t, err, "longer than 4096")
	compiled, err := compiler.Template("{{" + atLimit + "}}")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("é", expr.MaxExpression-2), compiled.Render(t.Context(), expr.NewScope(values(t))))
}

func TestNestingIsLimited(t *testing.T) {
	compiler, err := expr.NewCompiler()
	require.NoError(t, err)
	_, err = compiler.Condition(strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000))
	require.Error(t, err)
	_, err = compiler.Condition(strings.Repeat("[", 40) + strings.Repeat("]", 40) + " == []")
	require.NoError(t, err)
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		source string
		want   bool
	}{
		{"", true},
		{"true", true},
		{"false", false},
		{"context.order.status == 'shipped'", true},
		{"context.order.status == 'lost'", false},
		{"context.missing.status == 'shipped'", false},
		{"context.missing == 'x' || contact.name == 'Ana'", true},
		{"context.order.status", false},
		{"1 / 0 == 1", false},
		{"context.order.total > 12", true},
	} {
		t.Run(c.source, func(t *testing.T) {
			compiler, err := expr.NewCompiler()
			require.NoError(t, err)
			compiled, err := compiler.Condition(c.source)
			require.NoError(t, err)
			require.Equal(t, c.want, compiled.Holds(t.Context(), expr.NewScope(values(t))))
		})
	}
}

func TestConditionMustBeTrueOrFalse(t *testing.T) {
	compiler, err := expr.NewCompiler()
	require.NoError(t, err)
	_, err = compiler.Condition("'sim'")
	require.EqualError(t, err, "at character 1: a condition must be true or false")
	_, err = compiler.Condition(" ")
	require.EqualError(t, err, "at character 1: the expression is empty")
}

func TestScopeChangesAreSeenAndKeptApart(t *testing.T) {
	given := values(t)
	scope := expr.NewScope(given)
	all := template(t, "{{ contact.name }}|{{ context.count }}|{{ size(contact) }}|{{ size(context) }}|{{ input.label }}")
	require.Equal(t, "Ana|2|2|3|", all.Render(t.Context(), scope))
	scope.SetContact("name", "Bia")
	scope.SetContact("city", "Recife")
	scope.SetContext("count", structpb.NewStringValue("3"))
	scope.SetContext("more", structpb.NewStringValue("x"))
	scope.SetInputLabel("Sim")
	require.Equal(t, "Bia|3|3|4|Sim", all.Render(t.Context(), scope))
	scope.SetContact("name", "")
	scope.SetContext("count", nil)
	require.Equal(t, "||2|3|Sim", all.Render(t.Context(), scope))
	require.Equal(t, "Ana", given.Contact["name"])
	require.Len(t, given.Context, 3)

	empty := expr.NewScope(expr.Values{})
	empty.SetContact("a", "1")
	empty.SetContext("b", structpb.NewStringValue("2"))
	require.Equal(t, map[string]string{"a": "1"}, empty.Contact())
	require.Equal(t, "2", empty.Context()["b"].GetStringValue())
}

func TestCostIsLimited(t *testing.T) {
	given := values(t)
	given.Input.Text = strings.Repeat("a", 10_000)
	scope := expr.NewScope(given)
	dear := template(t, "<{{ ["+strings.Repeat("input.text,", 200)+"].map(a, a + a + a) }}>")
	cheap := template(t, "{{ contact.name }}")
	require.Equal(t, "<>", dear.Render(t.Context(), scope))
	require.False(t, scope.Exhausted())
	require.Equal(t, "Ana", cheap.Render(t.Context(), scope))
	for range expr.MaxScopeCost/expr.MaxCost + 1 {
		dear.Render(t.Context(), scope)
	}
	require.True(t, scope.Exhausted())
	require.Empty(t, cheap.Render(t.Context(), scope))
}

func TestWritingCostsToo(t *testing.T) {
	given := values(t)
	given.Input.Text = strings.Repeat("a", 10_000)
	scope := expr.NewScope(given)
	long := template(t, "{{ ["+strings.Repeat("input.text,", 100)+"] }}")
	renders := 0
	for ; !scope.Exhausted(); renders++ {
		require.Len(t, long.Render(t.Context(), scope), 100*10_003+1)
	}
	require.LessOrEqual(t, renders, 10)
}

func BenchmarkRender(b *testing.B) {
	given := values(b)
	for _, source := range []string{"Olá, mundo", "Olá{{ has(contact.name) ? ', ' + contact.name : '' }}!", "eco: {{ input.text }}"} {
		compiled := template(b, source)
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				compiled.Render(b.Context(), expr.NewScope(given))
			}
		})
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"a {{ contact.name }} b", "{{ {'a': '}}'} }}", `{{ r"\" }}`, "{{ '''a''' }}", "{{", "}}", "{{ [1].map(x, x) }}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		compiler, err := expr.NewCompiler()
		require.NoError(t, err)
		compiled, err := compiler.Template(source)
		if err != nil {
			return
		}
		got := compiled.Render(t.Context(), expr.NewScope(values(t)))
		require.NotContains(t, got, "\x00")
	})
}
