// Package validate holds requests against the rules that the contract states beside their fields (protovalidate), and names what
// is wrong by the JSON path that a caller of the REST surfaces knows.
package validate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxViolations bounds what one answer lists: a request of four megabytes can be wrong in a hundred thousand places.
const maxViolations = 100

// Request checks a request against its rules. All violations are in the one error: INVALID_ARGUMENT REQUEST_INVALID, the first
// 100 at most. What is not a protobuf message passes. The rules of a message are compiled at its first use and kept; a message
// without rules costs next to nothing.
func Request(request any) error {
	message, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	err := protovalidate.GlobalValidator.Validate(message)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		// A rule that does not compile or cannot be evaluated is a mistake in the contract.
		return rpcerr.Internal(fmt.Errorf("validate request: %w", err))
	}
	found := invalid.Violations[:min(len(invalid.Violations), maxViolations)]
	violations := make([]rpcerr.Violation, len(found))
	for i, v := range found {
		violations[i] = rpcerr.Violation{
			Field:  Field(message.ProtoReflect().Descriptor(), v.Proto),
			Reason: reason(v.Proto),
		}
	}
	return rpcerr.Invalid(violations...)
}

func reason(v *validatepb.Violation) string {
	if message := v.GetMessage(); message != "" {
		return message
	}
	return "breaks the rule " + v.GetRuleId()
}

// Field is the JSON path of the field that a violation is about. A rule of a message as a whole that is about one of its fields ends
// its id with that field's name, as in the contract: "channel.agent_id".
func Field(message protoreflect.MessageDescriptor, v *validatepb.Violation) string {
	path, message := jsonPath(message, v.GetField())
	if message == nil {
		return path
	}
	id := v.GetRuleId()
	about := message.Fields().ByName(protoreflect.Name(id[strings.LastIndexByte(id, '.')+1:]))
	switch {
	case about == nil:
		return path
	case path == "":
		return about.JSONName()
	}
	return path + "." + about.JSONName()
}

// jsonPath writes a path of fields as JSON names: "filters.startDate", "options[2].label", `metadata["name"]`. A rule about the
// message as a whole has the empty path. A oneof, which JSON does not know, keeps the name that it has in the contract. The message is
// the one at the end of the path; nil when there is none.
func jsonPath(message protoreflect.MessageDescriptor, path *validatepb.FieldPath) (string, protoreflect.MessageDescriptor) {
	var b strings.Builder
	for _, element := range path.GetElements() {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		var field protoreflect.FieldDescriptor
		if message != nil {
			field = message.Fields().ByNumber(protoreflect.FieldNumber(element.GetFieldNumber()))
		}
		if field == nil {
			b.WriteString(element.GetFieldName())
			message = nil
			continue
		}
		b.WriteString(field.JSONName())
		writeSubscript(&b, element)
		message = field.Message()
		if field.IsMap() {
			message = field.MapValue().Message()
		}
	}
	return b.String(), message
}

func writeSubscript(b *strings.Builder, element *validatepb.FieldPathElement) {
	switch subscript := element.GetSubscript().(type) {
	case *validatepb.FieldPathElement_Index:
		b.WriteByte('[')
		b.WriteString(strconv.FormatUint(subscript.Index, 10))
		b.WriteByte(']')
	case *validatepb.FieldPathElement_StringKey:
		b.WriteByte('[')
		b.WriteString(strconv.Quote(subscript.StringKey))
		b.WriteByte(']')
	case *validatepb.FieldPathElement_IntKey:
		b.WriteByte('[')
		b.WriteString(strconv.FormatInt(subscript.IntKey, 10))
		b.WriteByte(']')
	case *validatepb.FieldPathElement_UintKey:
		b.WriteByte('[')
		b.WriteString(strconv.FormatUint(subscript.UintKey, 10))
		b.WriteByte(']')
	case *validatepb.FieldPathElement_BoolKey:
		b.WriteByte('[')
		b.WriteString(strconv.FormatBool(subscript.BoolKey))
		b.WriteByte(']')
	}
}
