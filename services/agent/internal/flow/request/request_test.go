package request_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/request"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// compile makes a template, and fails when anything is wrong with the call.
func compile(t require.TestingT, def *agentv1.Call) *request.Template {
	exprs, err := expr.NewCompiler()
	require.NoError(t, err)
	template, faults := request.Compile(exprs, def)
	require.Empty(t, faults)
	return template
}

func scope(values map[string]any) *expr.Scope {
	kept, err := structpb.NewStruct(values)
	if err != nil {
		panic(err)
	}
	return expr.NewScope(expr.Values{Context: kept.GetFields()})
}

// says is a scope in which `context.v` is what somebody typed.
func says(value string) *expr.Scope { return scope(map[string]any{"v": value}) }

func TestRequestIsMadeOfItsParts(t *testing.T) {
	template := compile(t, &agentv1.Call{
		Method:  "POST",
		Url:     "https://erp.example.com:8443/v2/orders/{{ context.v }}/items?cpf={{ context.v }}&full=yes",
		Headers: map[string]string{"authorization": "Bearer {{ secret.erp }}.", "X-Who": "{{ context.v }}", "X-None": "{{ context.none }}"},
		Body:    `{"who": "{{ context.v }}", "n": {{ context.n }}, "l": {{ context.l }}, "none": {{ context.none }}, "text": {{ context.v }}}`,
		Timeout: durationpb.New(3 * time.Second),
	})
	made, err := template.Render(t.Context(), scope(map[string]any{"v": "a b/ç", "n": 1.5, "l": []any{"x", true, nil}}))
	require.NoError(t, err)
	require.Equal(t, &request.Request{
		Method: "POST", URL: "https://erp.example.com:8443/v2/orders/a%20b%2F%C3%A7/items?cpf=a%20b%2F%C3%A7&full=yes", Timeout: 3 * time.Second,
		Headers: []request.Header{
			{Name: "X-Who", Value: []expr.Piece{{Text: "a b/ç", Expression: true, Position: 1}}},
			{Name: "Authorization", Value: []expr.Piece{{Text: "Bearer ", Position: 1}, {Secret: "erp", Position: 8}, {Text: ".", Position: 24}}},
			{Name: "Content-Type", Value: []expr.Piece{{Text: "application/json", Position: 1}}},
		},
		Body: `{"who": "a b/ç", "n": 1.5, "l": ["x",true,null], "none": null, "text": "a b/ç"}`,
	}, made)

	made, err = compile(t, &agentv1.Call{Url: "http://erp"}).Render(t.Context(), says(""))
	require.NoError(t, err)
	require.Equal(t, &request.Request{Method: "GET", URL: "http://erp", Headers: []request.Header{}, Timeout: request.DefaultTimeout}, made)
}

func TestBodiesAreWrittenByTheirType(t *testing.T) {
	hostile := "\"}],'&a=b;c=d%26\r\n\\ é<"
	for contentType, c := range map[string]struct{ body, want string }{
		"application/json":                                {`["{{ context.v }}"]`, `["\"}],'&a=b;c=d%26\r\n\\ é<"]`},
		"application/vnd.api+json; charset=utf-8":         {`[{{ context.v }}]`, `["\"}],'&a=b;c=d%26\r\n\\ é<"]`},
		"application/x-www-form-urlencoded":               {"x={{ context.v }}&y=1", "x=%22%7D%5D%2C%27%26a%3Db%3Bc%3Dd%2526%0D%0A%5C%20%C3%A9%3C&y=1"},
		"Application/X-WWW-Form-Urlencoded;charset=utf-8": {"x={{ context.v }}", "x=%22%7D%5D%2C%27%26a%3Db%3Bc%3Dd%2526%0D%0A%5C%20%C3%A9%3C"},
		"text/plain":      {"= {{ context.v }}", "= " + hostile},
		"application/xml": {"<a/>", "<a/>"},
	} {
		t.Run(contentType, func(t *testing.T) {
			template := compile(t, &agentv1.Call{
				Method: "PUT", Url: "https://a.example/", Headers: map[string]string{"content-type": contentType}, Body: c.body,
			})
			made, err := template.Render(t.Context(), says(hostile))
			require.NoError(t, err)
			require.Equal(t, c.want, made.Body)
			require.Equal(t, []request.Header{{Name: "Content-Type", Value: []expr.Piece{{Text: contentType, Position: 1}}}}, made.Headers)
		})
	}
}

func TestFaults(t *testing.T) {
	const host = "https://a.example/"
	for name, c := range map[string]struct {
		call  *agentv1.Call
		field string
		want  string
	}{
		"no URL":                     {&agentv1.Call{}, "url", "at character 1: must begin with https://"},
		"an expression as URL":       {&agentv1.Call{Url: "{{ context.url }}"}, "url", "at character 1: must begin with https://"},
		"an expression as scheme":    {&agentv1.Call{Url: "{{ context.s }}://a.example/"}, "url", "at character 1: must begin"},
		"an expression as host":      {&agentv1.Call{Url: "https://{{ context.host }}/a"}, "url", "at character 9: scheme, host and port must be constant text"},
		"an expression ends a host":  {&agentv1.Call{Url: "https://a.example{{ context.v }}"}, "url", "at character 18: scheme, host and port"},
		"an expression as port":      {&agentv1.Call{Url: "https://a.example:{{ context.v }}/"}, "url", "at character 19: scheme, host and port"},
		"an expression after @":      {&agentv1.Call{Url: "https://a.example@{{ context.v }}/"}, "url", "at character 19: scheme, host and port"},
		"a user":                     {&agentv1.Call{Url: "https://me:pw@a.example/{{ context.v }}"}, "url", "at character 1: user name and password"},
		"no scheme":                  {&agentv1.Call{Url: "//a.example/"}, "url", "the scheme is not allowed"},
		"another scheme":             {&agentv1.Call{Url: "ftp://a.example/"}, "url", "the scheme is not allowed"},
		"a relative URL":             {&agentv1.Call{Url: "/a"}, "url", "the scheme is not allowed"},
		"a host in hexadecimal":      {&agentv1.Call{Url: "https://0x7f.1/"}, "url", "the host is neither"},
		"a space":                    {&agentv1.Call{Url: host + "a b"}, "url", "not an absolute URL"},
		"a line break":               {&agentv1.Call{Url: host + "a\n?x={{ context.v }}"}, "url", "not an absolute URL"},
		"a fragment":                 {&agentv1.Call{Url: host + "é{{ context.v }}#a"}, "url", "at character 35: a URL that is called has no fragment"},
		"a parameter's name":         {&agentv1.Call{Url: host + "?{{ context.v }}=1"}, "url", "at character 20: here an expression can only be a value"},
		"a second parameter's name":  {&agentv1.Call{Url: host + "?a=1&b{{ context.v }}=1"}, "url", "at character 25: here an expression can only be a value"},
		"a whole query":              {&agentv1.Call{Url: host + "?{{ context.v }}"}, "url", "here an expression can only be a value"},
		"half an escape":             {&agentv1.Call{Url: host + "?a=%2{{ context.v }}"}, "url", "at character 24: an expression cannot be a part of a % escape"},
		"half an escape in the path": {&agentv1.Call{Url: host + "%{{ context.v }}"}, "url", "an expression cannot be a part of a % escape"},
		"a secret in the URL":        {&agentv1.Call{Url: host + "?a={{ secret.erp }}"}, "url", "at character 25: a secret can only stand alone, as {{ secret.name }}, in a header of a call"},
		"an expression":              {&agentv1.Call{Url: host + "{{ foo }}"}, "url", "undeclared reference to 'foo'"},

		"a header's name":        {&agentv1.Call{Url: host, Headers: map[string]string{"a b": ""}}, "headers", "the name of a header"},
		"a header twice":         {&agentv1.Call{Url: host, Headers: map[string]string{"A": "", "a": ""}}, "headers", "given twice"},
		"Host":                   {&agentv1.Call{Url: host, Headers: map[string]string{"host": "b"}}, "headers", "belongs to the exchange itself"},
		"Content-Length":         {&agentv1.Call{Url: host, Headers: map[string]string{"Content-LENGTH": "1"}}, "headers", "belongs to the exchange itself"},
		"Transfer-Encoding":      {&agentv1.Call{Url: host, Headers: map[string]string{"transfer-encoding": "chunked"}}, "headers", "belongs to the exchange itself"},
		"a header's line break":  {&agentv1.Call{Url: host, Headers: map[string]string{"A": "é{{ context.v }}\nB: c"}}, "headers", "at character 17: a header has no line breaks"},
		"a secret in words":      {&agentv1.Call{Url: host, Headers: map[string]string{"A": "{{ secret.a + 'b' }}"}}, "headers", "at character 4: a secret can only stand alone"},
		"any secret":             {&agentv1.Call{Url: host, Headers: map[string]string{"A": "{{ secret[input.text] }}"}}, "headers", "at character 4: a secret can only stand alone"},
		"a Content-Type":         {&agentv1.Call{Url: host, Headers: map[string]string{"Content-Type": "json"}}, "headers", ""},
		"a Content-Type, broken": {&agentv1.Call{Url: host, Headers: map[string]string{"Content-Type": "a/b; ="}}, "headers", "is no media type"},
		"a Content-Type's value": {&agentv1.Call{Url: host, Headers: map[string]string{"Content-Type": "{{ context.v }}"}}, "headers", "must be constant text"},

		"a GET's body":        {&agentv1.Call{Url: host, Body: "{}"}, "body", "a GET has no body"},
		"no JSON":             {post(`a=1`, ""), "body", "is not JSON"},
		"an open text":        {post(`{"a": "{{ context.v }}}`, ""), "body", "is not JSON"},
		"a value in a number": {post(`[1{{ context.v }}]`, ""), "body", "is not JSON"},
		"a value escaped":     {post(`["\{{ context.v }}"]`, ""), "body", "is not JSON"},
		"a value in \\u":      {post(`["\u00{{ context.v }}"]`, ""), "body", "is not JSON"},
		"a value as a name":   {post(`{ {{ context.v }}: 1}`, ""), "body", "is not JSON"},
		"a value in a name":   {post(`[{"a": [1, {"b": 2}], "c{{ context.v }}": 1}]`, ""), "body", "an expression cannot be a part of a field's name"},
		"values beside":       {post(`{{ context.v }}{{ context.v }}`, ""), "body", "is not JSON"},
		"a field's name":      {post(`a=1&{{ context.v }}=2`, "application/x-www-form-urlencoded"), "body", "at character 5: here an expression can only be a value"},
		"an escape in a form": {post(`a=%{{ context.v }}`, "application/x-www-form-urlencoded"), "body", "an expression cannot be a part of a % escape"},
		"XML":                 {post(`<a>{{ context.v }}</a>`, "text/xml"), "body", "a body with expressions is"},
		"a secret in a body":  {post(`["{{ secret.a }}"]`, ""), "body", "a secret can only stand alone"},
	} {
		t.Run(name, func(t *testing.T) {
			exprs, err := expr.NewCompiler()
			require.NoError(t, err)
			_, faults := request.Compile(exprs, c.call)
			if c.want == "" {
				require.Empty(t, faults) // what looks wrong and is not
				return
			}
			require.Len(t, faults, 1)
			require.Equal(t, c.field, faults[0].Field)
			require.ErrorContains(t, faults[0].Err, c.want)
			var placed expr.Errors
			require.ErrorAs(t, faults[0].Err, &placed)
		})
	}
}

func post(body, contentType string) *agentv1.Call {
	call := &agentv1.Call{Method: "POST", Url: "https://a.example/", Body: body}
	if contentType != "" {
		call.Headers = map[string]string{"Content-Type": contentType}
	}
	return call
}

func TestPathStaysWhereItIs(t *testing.T) {
	for _, c := range []struct {
		url, value, want string // want "" is ErrURL
	}{
		{"https://a.example/o/{{ context.v }}", "1", "https://a.example/o/1"},
		{"https://a.example/o/{{ context.v }}", "", ""},
		{"https://a.example/o/{{ context.v }}/x", "", ""},
		{"https://a.example/o/{{ context.v }}?y", "", ""},
		{"https://a.example/o/{{ context.v }}", ".", ""},
		{"https://a.example/o/{{ context.v }}", "..", ""},
		{"https://a.example/o/.{{ context.v }}", ".", ""},
		{"https://a.example/o/{{ context.v }}.", ".", ""},
		{"https://a.example/o/{{ context.v }}{{ context.v }}", ".", ""},
		{"https://a.example/o/%2e{{ context.v }}", ".", ""},
		{"https://a.example/o/{{ context.v }}", "../../admin", ""},
		{"https://a.example/o/{{ context.v }}", `..\admin`, ""},
		{"https://a.example/o/{{ context.v }}", "a/../b", ""},
		{"https://a.example/o/{{ context.v }}", "%2e%2e", "https://a.example/o/%252e%252e"},
		{"https://a.example/o/{{ context.v }}", "...", "https://a.example/o/..."},
		{"https://a.example/o/{{ context.v }}", "a/b", "https://a.example/o/a%2Fb"},
		{"https://a.example/o/{{ context.v }}", "//b.example", "https://a.example/o/%2F%2Fb.example"},
		{"https://a.example/o/{{ context.v }}", "@b.example", "https://a.example/o/%40b.example"},
		{"https://a.example/o/{{ context.v }}", "a?b=c#d&e;f", "https://a.example/o/a%3Fb%3Dc%23d%26e%3Bf"},
		{"https://a.example/o/{{ context.v }}", "a\r\nHost: b", "https://a.example/o/a%0D%0AHost%3A%20b"},
		{"https://a.example/o/x{{ context.v }}", "", "https://a.example/o/x"},
		{"https://a.example?x={{ context.v }}", "..", "https://a.example?x=.."},
		{"https://a.example/?x={{ context.v }}&y=1", "", "https://a.example/?x=&y=1"},
		{"https://a.example/?x={{ context.v }}&y=1", "a&y=2", "https://a.example/?x=a%26y%3D2&y=1"},
		{"https://a.example/?x=a/{{ context.v }}", "../b", "https://a.example/?x=a/..%2Fb"},
		{"https://a.example//{{ context.v }}", "b.example", "https://a.example//b.example"},
	} {
		t.Run(c.url+" "+c.value, func(t *testing.T) {
			made, err := compile(t, &agentv1.Call{Url: c.url}).Render(t.Context(), says(c.value))
			if c.want == "" {
				require.ErrorIs(t, err, request.ErrURL)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, made.URL)
		})
	}
}

// Whatever is typed, it is read as one value where the author put it, and everything else as it was written.
func TestAValueIsNothingButAValue(t *testing.T) {
	template := compile(t, &agentv1.Call{
		Method: "POST", Url: "https://a.example/o/x{{ context.v }}/y?first=1&v={{ context.v }}&last=2",
		Body: `{"v": "<{{ context.v }}>", "w": {{ context.v }}, "admin": false}`,
	})
	form := compile(t, &agentv1.Call{
		Method: "POST", Url: "https://a.example/", Headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
		Body: "first=1&v={{ context.v }}&last=2",
	})
	pieces := rapid.SampledFrom([]string{
		"a", "ç", "/", "..", ".", "%2e", "%", "&", "=", "?", "#", ";", "@", ":", "\\", "\"", "'", "{", "}", "]", ",", "\r\n", "\t", " ", "+", "<", "\u2028",
		"{{ secret.a }}", "\U0001F600",
	})
	rapid.Check(t, func(t *rapid.T) {
		value := strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "pieces"), "") + rapid.String().Draw(t, "more")
		value = strings.ReplaceAll(value, "\x00", "")
		made, err := template.Render(context.Background(), says(value))
		if err != nil {
			require.ErrorIs(t, err, request.ErrURL)
			return
		}
		read, err := url.Parse(made.URL)
		require.NoError(t, err)
		require.Equal(t, "https://a.example", read.Scheme+"://"+read.Host)
		require.Equal(t, "/o/x"+value+"/y", read.Path)
		require.Len(t, strings.Split(read.EscapedPath(), "/"), 4)
		require.Equal(t, url.Values{"first": {"1"}, "v": {value}, "last": {"2"}}, read.Query())
		require.False(t, strings.ContainsFunc(made.URL, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) || c > unicode.MaxASCII }))

		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(made.Body), &body))
		require.Equal(t, map[string]any{"v": "<" + value + ">", "w": value, "admin": false}, body)

		made, err = form.Render(context.Background(), says(value))
		require.NoError(t, err)
		fields, err := url.ParseQuery(made.Body)
		require.NoError(t, err)
		require.Equal(t, url.Values{"first": {"1"}, "v": {value}, "last": {"2"}}, fields)
	})
}

func TestHeadersTakeNoLineBreaks(t *testing.T) {
	template := compile(t, &agentv1.Call{Url: "https://a.example/", Headers: map[string]string{"X-Who": "{{ context.v }}"}})
	for _, hostile := range []string{"a\r\nX-Admin: 1", "a\nb", "a\rb", "a\x7fb", "a\x1bb"} {
		_, err := template.Render(t.Context(), says(hostile))
		require.ErrorIs(t, err, request.ErrHeader, "%q", hostile)
	}
	made, err := template.Render(t.Context(), says("  "))
	require.NoError(t, err)
	require.Empty(t, made.Headers)
}

func TestLimitsOfARequest(t *testing.T) {
	url := compile(t, &agentv1.Call{Url: "https://a.example/?v={{ context.v }}"})
	_, err := url.Render(t.Context(), says(strings.Repeat("a", 2048-len("https://a.example/?v="))))
	require.NoError(t, err)
	_, err = url.Render(t.Context(), says(strings.Repeat("a", 2049-len("https://a.example/?v="))))
	require.ErrorIs(t, err, request.ErrURLLength)

	headers := compile(t, &agentv1.Call{Url: "https://a.example/", Headers: map[string]string{"X-V": "{{ context.v }}", "X-W": "{{ context.v }}"}})
	_, err = headers.Render(t.Context(), says(strings.Repeat("a", 8<<10-3)))
	require.NoError(t, err)
	_, err = headers.Render(t.Context(), says(strings.Repeat("a", 8<<10-2)))
	require.ErrorIs(t, err, request.ErrHeader)

	body := compile(t, post(`["{{ context.v }}"]`, ""))
	_, err = body.Render(t.Context(), says(strings.Repeat("a", 256<<10-4)))
	require.NoError(t, err)
	_, err = body.Render(t.Context(), says(strings.Repeat("a", 256<<10-3)))
	require.ErrorIs(t, err, request.ErrBody)
}

// A request of which a part is missing because there was no time or no cost left is another one.
func TestNoRequestIsCutShort(t *testing.T) {
	dear := compile(t, &agentv1.Call{Url: "https://a.example/?v={{ context.v.map(x, context.v.map(y, context.v.map(z, z))).size() }}"})
	many := make([]any, 200)
	for i := range many {
		many[i] = "x"
	}
	s := scope(map[string]any{"v": many})
	var err error
	for range 20 {
		_, err = dear.Render(t.Context(), s)
	}
	require.ErrorIs(t, err, request.ErrCost)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = dear.Render(ended, says(""))
	require.ErrorIs(t, err, context.Canceled)
}
