package registry

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxFaults bounds the faults that one answer lists, so that it stays within what the headers of a call can carry.
const maxFaults = 500

// definitionField is where requests have the definition.
const definitionField = "agent.definition"

// publish checks a definition and makes it a version. It is compiled too, though the program is not kept: a version that is stored
// must run.
func publish(sent *structpb.Value) (store.Version, error) {
	if sent.GetKind() == nil {
		return store.Version{}, rpcerr.Invalid(rpcerr.Violation{Field: definitionField, Reason: "is required"})
	}
	parsed, err := definition.FromValue(sent)
	if err == nil {
		_, err = flow.Compile(parsed)
	}
	if err != nil {
		return store.Version{}, invalid(definitionField, err)
	}
	format, source, err := sourceOf(sent)
	if err != nil {
		return store.Version{}, rpcerr.Internal(err)
	}
	raw, err := proto.Marshal(parsed)
	if err != nil {
		return store.Version{}, rpcerr.Internal(fmt.Errorf("encode definition: %w", err))
	}
	return store.Version{
		Format: format, Source: source, Definition: raw, DisplayName: parsed.GetDisplayName(), Description: parsed.GetDescription(),
	}, nil
}

// invalid lists the faults of a definition that was sent in a field.
func invalid(field string, err error) error {
	var faults definition.Faults
	if !errors.As(err, &faults) {
		return rpcerr.Internal(err)
	}
	problem := rpcerr.New(codes.InvalidArgument, agentv1.ErrorReason_ERROR_REASON_AGENT_DEFINITION_INVALID, "the definition has faults")
	violations := make([]rpcerr.Violation, 0, min(len(faults), maxFaults+1))
	for i, fault := range faults {
		if i == maxFaults {
			violations = append(violations, rpcerr.Violation{
				Field: field, Reason: fmt.Sprintf("%d more faults are not listed", len(faults)-maxFaults),
			})
			break
		}
		violations = append(violations, violation(field, fault))
	}
	return problem.WithViolations(violations...)
}

func violation(field string, fault definition.Fault) rpcerr.Violation {
	v := rpcerr.Violation{Field: field, Reason: fault.Reason}
	if fault.Field != "" {
		v.Field += "." + fault.Field
	}
	if fault.Line > 0 {
		v.Reason = fmt.Sprintf("line %d, column %d: %s", fault.Line, fault.Column, fault.Reason)
	}
	return v
}

// sourceOf is the definition in the form in which it was sent.
func sourceOf(sent *structpb.Value) (store.Format, []byte, error) {
	if text, ok := sent.GetKind().(*structpb.Value_StringValue); ok {
		return store.FormatYAML, []byte(text.StringValue), nil
	}
	source, err := json.Marshal(sent.AsInterface())
	if err != nil {
		return "", nil, fmt.Errorf("encode definition as JSON: %w", err)
	}
	return store.FormatJSON, source, nil
}

// sourceValue is the reverse of sourceOf.
func sourceValue(format store.Format, source []byte) (*structpb.Value, error) {
	if format == store.FormatYAML {
		return structpb.NewStringValue(string(source)), nil
	}
	value := &structpb.Value{}
	if err := value.UnmarshalJSON(source); err != nil {
		return nil, fmt.Errorf("decode definition from JSON: %w", err)
	}
	return value, nil
}
