package gateway

import (
	"errors"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	rules "github.com/prosa-chat/prosa/services/internal/validate"
)

// unruly are the violations of the contract's rules in a request some of whose fields could not be read. A field of which
// something was said already, or that holds one or is held by one, is left alone: what it lacks may be what could not be read.
func unruly(message proto.Message, b *binding, said []rpcerr.Violation) []rpcerr.Violation {
	var rest []rpcerr.Violation
	for _, v := range broken(message) {
		if name := b.relative(violationName(message, v)); !known(name, said) {
			rest = append(rest, rpcerr.Violation{Field: name, Reason: violationReason(v)})
		}
	}
	return rest
}

// rename puts the violations that a service found into the names that the caller knows. A rule about the body as a whole is
// about a field that it lacks; only the rule itself says which, so it is looked up.
func (b *binding) rename(message proto.Message, found []rpcerr.Violation) []rpcerr.Violation {
	if b == nil || b.body == nil {
		return found
	}
	renamed := make([]rpcerr.Violation, 0, len(found))
	for _, v := range found {
		if v.Field != b.body.JSONName() {
			renamed = append(renamed, rpcerr.Violation{Field: b.relative(v.Field), Reason: v.Reason})
			continue
		}
		for _, rule := range broken(message) {
			if violationReason(rule) == v.Reason {
				v.Field = b.relative(violationName(message, rule))
				break
			}
		}
		renamed = append(renamed, v)
	}
	return renamed
}

// broken are the rules that a request breaks.
func broken(message proto.Message) []*validate.Violation {
	var invalid *protovalidate.ValidationError
	if err := protovalidate.Validate(message); !errors.As(err, &invalid) {
		return nil
	}
	found := make([]*validate.Violation, len(invalid.Violations))
	for i, v := range invalid.Violations {
		found[i] = v.Proto
	}
	return found
}

func violationReason(v *validate.Violation) string {
	if v.GetMessage() != "" {
		return v.GetMessage()
	}
	return "breaks the rule " + v.GetRuleId()
}

// violationName is the path of a violation in JSON names. A rule on a field of the request whose id is that field's name, a dot
// and a field in it ("channel.agent_id") is about the field in it.
func violationName(message proto.Message, v *validate.Violation) string {
	descriptor := message.ProtoReflect().Descriptor()
	name := rules.JSONPath(descriptor, v.GetField())
	outer := descriptor.Fields().ByJSONName(name)
	if outer == nil || outer.Message() == nil {
		return name
	}
	if inner, ok := strings.CutPrefix(v.GetRuleId(), string(outer.Name())+"."); ok {
		fields := outer.Message().Fields()
		for i := range fields.Len() {
			if string(fields.Get(i).Name()) == inner {
				return name + "." + fields.Get(i).JSONName()
			}
		}
	}
	return name
}

// known reports whether something was said about the field, about a part of it, or about what it is a part of.
func known(name string, said []rpcerr.Violation) bool {
	for _, v := range said {
		if v.Field == name || within(v.Field, name) || within(name, v.Field) {
			return true
		}
	}
	return false
}

// within reports whether inner names a part of outer.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}
