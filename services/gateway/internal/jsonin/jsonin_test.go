package jsonin

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func decode(body string, m proto.Message, opts Options) Result {
	return Decode([]byte(body), m.ProtoReflect(), opts)
}

func TestDecodeReadsWhatProtojsonReads(t *testing.T) {
	for _, test := range []struct {
		message proto.Message
		body    string
	}{
		{&channelv1.ReceiveMessageRequest{}, `{"channelId":"a","text":"\u00e1\n\"\ud83d\ude00","type":"","postback":null}`},
		{&contactsv1.QueryContactsRequest{}, `{"filters":{"id":"9223372036854775807","assistantId":-1.0,"limit":1E2},"flags":{"history":true,"events":false}}`},
		{&contactsv1.QueryContactsResponse{}, `{"contacts":[{"attributes":{"a":"b","":""},"history":[{"time":"2020-06-01T12:45:59.158Z","messages":[{"list":{"sections":[{"label":""}]}}]}]},{}]}`},
		{&channelv1.Channel{}, `{"timeout":"1.5s","acknowledgement":"ANY_2XX","createTime":"2020-06-01T12:00:00+03:00","test":true}`},
		{&channelv1.UpdateChannelRequest{}, `{"updateMask":"displayName,agentId","channel":{}}`},
		{&accountsv1.ApiKey{}, `{"scopes":["a","b"],"expireTime":null}`},
		{&accountsv1.ApiKey{}, `{"scopes":[]}`},
		{&agentv1.Agent{}, `{"definition":{"a":[1,-2.5e3,true,false,null,"x",{}],"b":{"c":{}}}}`},
		{&agentv1.Agent{}, `{"definition":"text"}`},
		{&agentv1.Agent{}, `{"definition":[]}`},
		{&agentv1.Model{}, `{"temperature":"0.5","maxTokens":7,"historyTurns":0}`},
	} {
		want := proto.Clone(test.message)
		require.NoError(t, protojson.Unmarshal([]byte(test.body), want))
		got := decode(test.body, test.message, Options{RefuseUnknown: true})
		require.True(t, got.OK(), "%s: %+v", test.body, got)
		require.True(t, proto.Equal(want, test.message), "%s\n%v\n%v", test.body, want, test.message)
	}
}

func TestDecodeTellsEveryFault(t *testing.T) {
	for name, test := range map[string]struct {
		message proto.Message
		body    string
		faults  []Fault
	}{
		"every kind": {&agentv1.Model{}, `{"baseUrl":1,"temperature":"x","maxTokens":1.5,"historyTurns":2147483648,"tools":{"a":1}}`, []Fault{
			{"baseUrl", "must be a string"}, {"temperature", "must be a number"}, {"maxTokens", "must be an integer"},
			{"historyTurns", "must be an integer from -2147483648 to 2147483647"}, {"tools", "must be a list"},
		}},
		"well-known": {&channelv1.Channel{}, `{"timeout":"soon","createTime":"2020-13-01T00:00:00Z","acknowledgement":"ANY","state":1,"test":"true"}`, []Fault{
			{"timeout", `must be a duration in seconds such as "30s"`}, {"createTime", `must be a time such as "2024-01-15T10:30:00Z" (RFC 3339)`},
			{"acknowledgement", "must be one of STATUS_OK, ANY_2XX"}, {"state", "must be one of ACTIVE, PAUSED, DISABLED"}, {"test", "must be true or false"},
		}},
		"lists and maps": {&contactsv1.QueryContactsResponse{}, `{"contacts":[{"attributes":{"a":1,"b":null,"a":"x","c\u0000":"y"},"history":[null,[]]},7],"resultCount":"1 "}`, []Fault{
			{`contacts[0].attributes["a"]`, "must be a string"}, {`contacts[0].attributes["b"]`, "must not be null"}, {`contacts[0].attributes["c\x00"]`, "must not contain U+0000"},
			{"contacts[0].history[0]", "must not be null"}, {"contacts[0].history[1]", "must be an object"}, {"contacts[1]", "must be an object"}, {"resultCount", "must be an integer"},
		}},
		"two of a oneof": {&messagev1.Message{}, `{"text":{"text":"a"},"date":{"text":"b"}}`, []Fault{{"date", "must not be given together with text"}}},
		"twice":          {&channelv1.ReceiveMessageRequest{}, `{"text":null,"text":"a","type":"a","type":"a"}`, []Fault{{"text", "is given twice"}, {"type", "is given twice"}}},
		"no text":        {&channelv1.ReceiveMessageRequest{}, "{\"text\":\"a\xff\",\"type\":\"\\udc00\",\"postback\":\"\\u0000\"}", []Fault{{"text", "must be valid UTF-8"}, {"type", "must be valid UTF-8"}, {"postback", "must not contain U+0000"}}},
		"free form":      {&agentv1.Agent{}, `{"definition":{"a":1e999,"b":{"c":1,"c":2}}}`, []Fault{{"definition.a", "must be a number within range"}, {"definition.b.c", "is given twice"}}},
		"unknown":        {&channelv1.ReceiveMessageRequest{}, "{\"x\":{\"y\":[1]},\"channel_id\":1,\"b\xff\":1," + `"` + strings.Repeat("é", 60) + `":1}`, []Fault{{"x", "is not a known field"}, {"channel_id", "is not a known field"}, {"b\ufffd", "is not a known field"}, {strings.Repeat("é", 32), "is not a known field"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := decode(test.body, test.message, Options{RefuseUnknown: true})
			require.Empty(t, got.Malformed)
			require.Equal(t, test.faults, got.Faults)
		})
	}
}

func TestDecodeSetsWhatIsGood(t *testing.T) {
	var m channelv1.ReceiveMessageRequest
	got := decode(`{"channelId":1,"text":"a","unknown":{"deep":[]},"type":null}`, &m, Options{})
	require.Equal(t, []Fault{{"channelId", "must be a string"}}, got.Faults)
	require.True(t, proto.Equal(&channelv1.ReceiveMessageRequest{Text: "a"}, &m))
	var named []string
	for _, field := range got.Named {
		named = append(named, field.JSONName())
	}
	require.Equal(t, []string{"channelId", "text", "type"}, named)
}

func TestDecodeHidesFields(t *testing.T) {
	hidden := func(field protoreflect.FieldDescriptor) bool { return field.Name() == "instance" }
	m := contactsv1.QueryContactsRequest{Instance: "acme"}
	require.True(t, new(decode(`{"instance":"other"}`, &m, Options{Hidden: hidden})).OK())
	require.Equal(t, "acme", m.GetInstance())
	require.Equal(t, []Fault{{"instance", "is not a known field"}}, decode(`{"instance":"other"}`, &m, Options{Hidden: hidden, RefuseUnknown: true}).Faults)
}

func TestDecodeMalformed(t *testing.T) {
	nest := func(levels int) string {
		return `{"definition":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}"
	}
	unknown := func(levels int) string { return strings.Replace(nest(levels), "definition", "x", 1) }
	for name, test := range map[string]struct{ body, malformed string }{
		"empty":               {``, "is not valid JSON: it ends too early"},
		"white space":         {" \t\n", "is not valid JSON: it ends too early"},
		"cut":                 {`{"id":"a`, "is not valid JSON: it ends too early"},
		"cut after a comma":   {`{"id":"a",`, "is not valid JSON: it ends too early"},
		"comma before end":    {`{"id":"a",}`, "is not valid JSON near byte 9"},
		"list":                {`[]`, "must be a JSON object"},
		"text":                {`"a"`, "must be a JSON object"},
		"null":                {`null`, "must be a JSON object"},
		"number":              {`1`, "must be a JSON object"},
		"byte order mark":     {"\ufeff{}", "is not valid JSON near byte 0"},
		"trailing object":     {`{}{}`, "has something after the JSON object"},
		"trailing brace":      {`{}}`, "has something after the JSON object"},
		"trailing zero":       {"{}\x00", "has something after the JSON object"},
		"deeper":              {nest(MaxDepth + 1), "is nested deeper than 32 levels"},
		"deeper, not known":   {unknown(MaxDepth + 1), "is nested deeper than 32 levels"},
		"as deep as allowed":  {nest(MaxDepth), ""},
		"deep, not known":     {unknown(MaxDepth), ""},
		"brackets mixed up":   {`{"definition":[}`, "is not valid JSON near byte 15"},
		"broken in unknown":   {`{"x":[1,{"y":tru}]}`, "is not valid JSON near byte 16"},
		"broken in fault":     {`{"id":[1,`, "is not valid JSON: it ends too early"},
		"a number that is no": {`{"version":01}`, "is not valid JSON near byte 12"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.malformed, decode(test.body, &agentv1.Agent{}, Options{}).Malformed)
		})
	}
}

func TestDecodeBoundsItsAnswer(t *testing.T) {
	body := `{"scopes":[` + strings.Repeat("1,", 5000) + `1]}`
	got := decode(body, &accountsv1.ApiKey{}, Options{})
	require.Len(t, got.Faults, maxFaults)
}

func TestIntegers(t *testing.T) {
	for text, want := range map[string]string{
		"0": "", "-0": "", "1": "", "1.0": "", "1e3": "", "10E-1": "", "9007199254740993": "", "-9223372036854775808": "", "9223372036854775807": "",
		"9223372036854775808": "must be an integer from -9223372036854775808 to 9223372036854775807", "1e30": "must be an integer from -9223372036854775808 to 9223372036854775807",
		"1.5": "must be an integer", "1e999": "must be an integer", "+1": "must be an integer", " 1": "must be an integer", "0x10": "must be an integer", "1_000": "must be an integer",
		"": "must be an integer", "NaN": "must be an integer", "Infinity": "must be an integer", "١": "must be an integer", "01x": "must be an integer",
	} {
		var m contactsv1.ContactFilters
		reason := SetText(m.ProtoReflect(), m.ProtoReflect().Descriptor().Fields().ByName("id"), text)
		require.Equal(t, want, reason, text)
	}
}

func TestSetText(t *testing.T) {
	var channel channelv1.Channel
	var key accountsv1.ApiKey
	set := func(m proto.Message, field, text string) string {
		return SetText(m.ProtoReflect(), m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(field)), text)
	}
	require.Empty(t, set(&channel, "timeout", "5s"))
	require.Empty(t, set(&channel, "test", "true"))
	require.Empty(t, set(&channel, "acknowledgement", "ANY_2XX"))
	require.Empty(t, set(&channel, "create_time", "2024-01-15T10:30:00Z"))
	require.Empty(t, set(&channel, "display_name", `a "b"`))
	require.Empty(t, set(&key, "scopes", "a"))
	require.Empty(t, set(&key, "scopes", "b"))
	require.Equal(t, []string{"a", "b"}, key.GetScopes())
	require.Equal(t, `a "b"`, channel.GetDisplayName())
	require.EqualValues(t, 5, channel.GetTimeout().GetSeconds())

	require.NotEmpty(t, set(&channel, "timeout", "5"))
	require.NotEmpty(t, set(&channel, "test", "1"))
	require.NotEmpty(t, set(&channel, "display_name", "\xff"))
	require.NotEmpty(t, set(&channel, "display_name", "\x00"))
	require.NotEmpty(t, set(&contactsv1.QueryContactsRequest{}, "filters", "{}"))
}

// Whatever the bytes: no panic; and what is read without a fault, protojson reads as the same message.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"id":"a","assistantId":"1","definition":{"a":[1,null,"x"]},"createTime":"2020-06-01T12:45:59.158Z","version":1.0}`,
		`{"definition":null,"version":1e2}`, "{\"description\":\"\xff\\ud800\"}", `{"definition":{"a":1,"a":2}}`, `[[[[`, `{"id":{"id":{"id":1}}}`, `{"version":"1e1"}`, `{"a":}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		Decode(body, (&contactsv1.QueryContactsResponse{}).ProtoReflect(), Options{})
		got := &agentv1.Agent{}
		result := Decode(body, got.ProtoReflect(), Options{RefuseUnknown: true})
		for _, fault := range result.Faults {
			if fault.Reason == "" {
				t.Fatalf("fault without reason: %+v", fault)
			}
		}
		if !result.OK() {
			return
		}
		want := &agentv1.Agent{}
		if err := protojson.Unmarshal(body, want); err != nil {
			t.Fatalf("read what protojson does not: %q: %v", body, err)
		}
		if _, null := want.GetDefinition().GetKind().(*structpb.Value_NullValue); null && got.Definition == nil {
			want.Definition = nil
		}
		if !proto.Equal(want, got) {
			t.Fatalf("%q: %v is not %v", body, got, want)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"channelId":"64a1b2c3d4e5f6a7b8c9d0e1","clientIdentifier":"user-123","type":"text","text":"Olá, preciso de ajuda"}`)
	b.ReportAllocs()
	for b.Loop() {
		var m channelv1.ReceiveMessageRequest
		Decode(body, m.ProtoReflect(), Options{})
	}
}

func TestStructAsTheBody(t *testing.T) {
	for body, want := range map[string]map[string]any{
		`{}`: {}, `{"a":null,"":[1,{"b":"x"}],"c":true}`: {"a": nil, "": []any{1.0, map[string]any{"b": "x"}}, "c": true},
	} {
		msg := &structpb.Struct{Fields: map[string]*structpb.Value{"old": structpb.NewNullValue()}}
		result := Decode([]byte(body), msg.ProtoReflect(), Options{})
		require.True(t, result.OK(), body)
		require.Equal(t, want, msg.AsMap(), body)
	}
	for body, faults := range map[string][]string{`{"a":1,"a":2}`: {"a"}, `{"a":[{"b":"\u0000"}]}`: {"a[0].b"}} {
		result := Decode([]byte(body), new(structpb.Struct).ProtoReflect(), Options{})
		var names []string
		for _, f := range result.Faults {
			names = append(names, f.Name)
		}
		require.Equal(t, faults, names, body)
	}
	for _, body := range []string{``, `[]`, `null`, `{"a":`, `{} 1`, strings.Repeat(`{"a":`, MaxDepth+1) + `1` + strings.Repeat(`}`, MaxDepth+1)} {
		require.NotEmpty(t, Decode([]byte(body), new(structpb.Struct).ProtoReflect(), Options{}).Malformed, body)
	}
}
