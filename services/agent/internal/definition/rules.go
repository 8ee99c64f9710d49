package definition

import (
	"errors"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// rules finds what breaks the limits of the schema.
func rules(def *agentv1.AgentDefinition) []finding {
	err := protovalidate.Validate(def)
	if err == nil {
		return nil
	}
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) {
		return []finding{{reason: err.Error()}}
	}
	findings := make([]finding, 0, len(broken.Violations))
	for _, violation := range broken.Violations {
		findings = append(findings, ruleFinding(def.ProtoReflect().Descriptor(), violation.Proto))
	}
	return findings
}

// ruleFinding gives a violation with names as in JSON.
func ruleFinding(of protoreflect.MessageDescriptor, violation *validate.Violation) finding {
	found := finding{key: violation.GetForKey(), reason: violation.GetMessage()}
	for _, element := range violation.GetField().GetElements() {
		name := protoreflect.Name(element.GetFieldName())
		field := of.Fields().ByName(name)
		if field == nil {
			// Of a oneof nothing is set; its name is nothing that an author has written.
			found.reason = "one of " + choices(of.Oneofs().ByName(name)) + " must be given"
			return found
		}
		found.field = found.field.field(field.JSONName())
		switch element.WhichSubscript() {
		case validate.FieldPathElement_Index_case:
			found.field = found.field.index(int(element.GetIndex()))
		case validate.FieldPathElement_StringKey_case:
			found.field = found.field.key(element.GetStringKey())
		}
		if reason, ok := patterns[field.FullName()]; ok && violation.GetRuleId() == "string.pattern" {
			found.reason = reason
		}
		if field.IsMap() {
			of = field.MapValue().Message()
		} else {
			of = field.Message()
		}
	}
	return found
}

// patterns says in words what the regular expression of a field means.
var patterns = map[protoreflect.FullName]string{
	"prosa.agent.v1.AgentDefinition.nodes": "a node's name is 1 to 64 letters, digits and _, and does not begin with a digit",
	"prosa.agent.v1.Intent.name":           "an intent's name is 1 to 64 letters, digits and _, and does not begin with a digit",
	"prosa.agent.v1.CuratedAnswer.name":    "an answer's name is 1 to 64 letters, digits and _, and does not begin with a digit",
	"prosa.agent.v1.Model.tools":           "a tool's name is 1 to 64 letters, digits and _, and does not begin with a digit",
	"prosa.agent.v1.Node.arguments":        "an argument's name is 1 to 64 letters, digits and _, and does not begin with a digit",
	"prosa.agent.v1.Node.set":              "must be context. or contact. and 1 to 64 letters, digits and _",
	"prosa.agent.v1.Ask.save":              "must be context. or contact. and 1 to 64 letters, digits and _",
	"prosa.agent.v1.Call.save":             "must be context. and 1 to 64 letters, digits and _",
}

func choices(of protoreflect.OneofDescriptor) string {
	if of == nil {
		return "its fields"
	}
	names := make([]string, of.Fields().Len())
	for i := range names {
		names[i] = of.Fields().Get(i).JSONName()
	}
	return strings.Join(names, ", ")
}
