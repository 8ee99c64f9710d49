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
		if name := b.relative(rules.Field(message.ProtoReflect().Descriptor(), v)); !known(name, said) {
			rest = append(rest, rpcerr.Violation{Field: name, Reason: violationReason(v)})
		}
	}
	return rest
}

// rename puts the violations that a service found into the names that the caller knows.
func (b *binding) rename(found []rpcerr.Violation) []rpcerr.Violation {
	if b == nil || b.body == nil {
		return found
	}
	renamed := make([]rpcerr.Violation, len(found))
	for i, v := range found {
		renamed[i] = rpcerr.Violation{Field: b.relative(v.Field), Reason: v.Reason}
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
