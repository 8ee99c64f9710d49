package agent_test

import (
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// Every limit of the contract of secrets, versions, dry runs and calls, at it and one past it.
func TestLimitsOfTheContract(t *testing.T) {
	text := strings.Repeat
	many := func(n int) map[string]*structpb.Value {
		all := make(map[string]*structpb.Value)
		for i := range n {
			all[fmt.Sprint("n", i)] = structpb.NewNullValue()
		}
		return all
	}
	strs := func(n int) map[string]string {
		all := make(map[string]string)
		for i := range n {
			all[fmt.Sprint("n", i)] = ""
		}
		return all
	}
	set := func(name, value string) *agentv1.SetSecretRequest {
		return &agentv1.SetSecretRequest{Instance: "acme", Name: name, Value: value}
	}
	test := func(change func(r *agentv1.TestAgentRequest)) *agentv1.TestAgentRequest {
		r := &agentv1.TestAgentRequest{Instance: "acme", Id: "a", Text: "a"}
		change(r)
		return r
	}
	call := func(change func(c *agentv1.Call)) *agentv1.Call {
		c := &agentv1.Call{Url: "https://a.example/"}
		change(c)
		return c
	}
	for name, c := range map[string]struct{ within, past proto.Message }{
		"secret name":         {set(text("a", 64), "v"), set(text("a", 65), "v")},
		"secret no name":      {set("_", "v"), set("", "v")},
		"secret name's form":  {set("aZ_09", "v"), set("0a", "v")},
		"secret name's dash":  {set("a_b", "v"), set("a-b", "v")},
		"secret value":        {set("a", text("é", 4096)), set("a", text("é", 4097))},
		"secret no value":     {set("a", " "), set("a", "")},
		"secret line break":   {set("a", "a b"), set("a", "a\nb")},
		"secret NUL":          {set("a", "a\u00a0b"), set("a", "a\u0000b")},
		"secret delete":       {set("a", "a\u007eb"), set("a", "a\u007fb")},
		"secret C1":           {set("a", "~"), set("a", "\u009b")},
		"secret page":         {&agentv1.ListSecretsRequest{Instance: "a", PageSize: 500}, &agentv1.ListSecretsRequest{Instance: "a", PageSize: 501}},
		"secret page below 0": {&agentv1.ListSecretsRequest{Instance: "a"}, &agentv1.ListSecretsRequest{Instance: "a", PageSize: -1}},
		"secret token": {
			&agentv1.ListSecretsRequest{Instance: "a", PageToken: text("a", 1024)}, &agentv1.ListSecretsRequest{Instance: "a", PageToken: text("a", 1025)},
		},
		"secret instance": {
			&agentv1.DeleteSecretRequest{Instance: text("a", 63), Name: "a"}, &agentv1.DeleteSecretRequest{Instance: text("a", 64), Name: "a"},
		},
		"deleted name": {
			&agentv1.DeleteSecretRequest{Instance: "a", Name: text("a", 64)}, &agentv1.DeleteSecretRequest{Instance: "a", Name: text("a", 65)},
		},
		"versions page": {
			&agentv1.ListAgentVersionsRequest{Instance: "a", Id: "a", PageSize: 500}, &agentv1.ListAgentVersionsRequest{Instance: "a", Id: "a", PageSize: 501},
		},
		"version": {
			&agentv1.GetAgentVersionRequest{Instance: "a", Id: "a", Version: 1}, &agentv1.GetAgentVersionRequest{Instance: "a", Id: "a"},
		},
		"rollback": {
			&agentv1.RollbackAgentRequest{Instance: "a", Id: "a", Version: 1}, &agentv1.RollbackAgentRequest{Instance: "a", Id: "a", Version: -1},
		},
		"test text": {
			test(func(r *agentv1.TestAgentRequest) { r.Text = text("é", 10_000) }), test(func(r *agentv1.TestAgentRequest) { r.Text = text("é", 10_001) }),
		},
		"test postback": {
			test(func(r *agentv1.TestAgentRequest) { r.Postback = text("a", 64) }), test(func(r *agentv1.TestAgentRequest) { r.Postback = text("a", 65) }),
		},
		"test input": {
			test(func(r *agentv1.TestAgentRequest) { r.Text, r.NoInput = "", true }), test(func(r *agentv1.TestAgentRequest) { r.Text = "" }),
		},
		"test input twice": {
			test(func(r *agentv1.TestAgentRequest) { r.Text, r.Postback = "", "index0" }), test(func(r *agentv1.TestAgentRequest) { r.NoInput = true }),
		},
		"test state": {
			test(func(r *agentv1.TestAgentRequest) { r.State = text("a", 1<<20) }), test(func(r *agentv1.TestAgentRequest) { r.State = text("a", 1<<20+1) }),
		},
		"test contact": {
			test(func(r *agentv1.TestAgentRequest) { r.Contact = strs(500) }), test(func(r *agentv1.TestAgentRequest) { r.Contact = strs(501) }),
		},
		"test contact's value": {
			test(func(r *agentv1.TestAgentRequest) { r.Contact = map[string]string{text("a", 64): text("a", 10_000)} }),
			test(func(r *agentv1.TestAgentRequest) { r.Contact = map[string]string{text("a", 64): text("a", 10_001)} }),
		},
		"test contact's name": {
			test(func(r *agentv1.TestAgentRequest) { r.Contact = map[string]string{"a": ""} }),
			test(func(r *agentv1.TestAgentRequest) { r.Contact = map[string]string{text("a", 65): ""} }),
		},
		"test version": {
			test(func(r *agentv1.TestAgentRequest) { r.Version = 1 }), test(func(r *agentv1.TestAgentRequest) { r.Version = -1 }),
		},
		"test answers": {
			test(func(r *agentv1.TestAgentRequest) { r.CallAnswers = many(100) }), test(func(r *agentv1.TestAgentRequest) { r.CallAnswers = many(101) }),
		},
		"call URL": {
			call(func(c *agentv1.Call) { c.Url = text("a", 2048) }), call(func(c *agentv1.Call) { c.Url = text("a", 2049) }),
		},
		"call headers": {
			call(func(c *agentv1.Call) { c.Headers = strs(50) }), call(func(c *agentv1.Call) { c.Headers = strs(51) }),
		},
		"call header's name": {
			call(func(c *agentv1.Call) { c.Headers = map[string]string{text("a", 128): ""} }),
			call(func(c *agentv1.Call) { c.Headers = map[string]string{text("a", 129): ""} }),
		},
		"call header": {
			call(func(c *agentv1.Call) { c.Headers = map[string]string{"a": text("a", 4096)} }),
			call(func(c *agentv1.Call) { c.Headers = map[string]string{"a": text("a", 4097)} }),
		},
		"call body": {
			call(func(c *agentv1.Call) { c.Body = text("a", 65536) }), call(func(c *agentv1.Call) { c.Body = text("a", 65537) }),
		},
		"call timeout": {
			call(func(c *agentv1.Call) { c.Timeout = &durationpb.Duration{Seconds: 30} }),
			call(func(c *agentv1.Call) { c.Timeout = &durationpb.Duration{Seconds: 30, Nanos: 1} }),
		},
		"call no timeout": {
			call(func(c *agentv1.Call) { c.Timeout = &durationpb.Duration{Nanos: 1} }), call(func(c *agentv1.Call) { c.Timeout = &durationpb.Duration{} }),
		},
		"call save": {
			call(func(c *agentv1.Call) { c.Save = "context." + text("a", 64) }), call(func(c *agentv1.Call) { c.Save = "context." + text("a", 65) }),
		},
		"call save elsewhere": {
			call(func(c *agentv1.Call) { c.Save = "context.a" }), call(func(c *agentv1.Call) { c.Save = "contact.a" }),
		},
	} {
		require.NoError(t, protovalidate.Validate(c.within), name)
		require.Error(t, protovalidate.Validate(c.past), name)
	}
}
