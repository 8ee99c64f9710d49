package definition

import (
	"net/url"

	"github.com/prosa-chat/prosa/services/agent/internal/remote"
)

// model finds what is wrong with the model, its tools among them.
func (c *checker) model() {
	names := make(map[string]bool)
	for i, answer := range c.def.GetAnswers() {
		if name := answer.GetName(); name != "" && names[name] {
			c.fault(path("answers").index(i).field("name"), "there is another answer %q", name)
		}
		names[answer.GetName()] = true
	}
	m := c.def.GetModel()
	if m == nil {
		return
	}
	at := path("model")
	if m.GetBaseUrl() != "" && !validBaseURL(m.GetBaseUrl()) {
		c.fault(at.field("baseUrl"), "must be an absolute http or https URL without user information, query and fragment")
	}
	c.template(at.field("instructions"), m.GetInstructions())
	for i, tool := range m.GetTools() {
		if field := at.field("tools").index(i); !c.found(field) {
			c.tool(field, tool)
		}
	}
}

// tool finds what is wrong with the name of a tool: it must stand for one thing.
func (c *checker) tool(at path, name string) {
	meant := 0
	for _, intent := range c.def.GetIntents() {
		if intent.GetName() == name {
			meant++
			break // a second one is a fault of its own
		}
	}
	for _, answer := range c.def.GetAnswers() {
		if answer.GetName() == name {
			meant++
			break
		}
	}
	if c.def.GetNodes()[name].GetCall() != nil {
		meant++
	}
	switch {
	case meant == 0:
		c.fault(at, "there is no intent, answer or node with a call named %q", name)
	case meant > 1:
		c.fault(at, "%q can mean more than one of an intent, an answer and a node with a call", name)
	}
}

func validBaseURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Opaque == "" &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// remote finds what is wrong with the program that answers in place of the flow.
func (c *checker) remote() {
	if target := c.def.GetRemote().GetTarget(); target != "" {
		if _, err := remote.ParseTarget(target); err != nil {
			c.fault(path("remote").field("target"), "%s", err)
		}
	}
}
