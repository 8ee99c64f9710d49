package registry

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// The fields of an agent that can be changed, as a mask names them.
const (
	fieldDisplayName = "display_name"
	fieldDescription = "description"
	fieldDefinition  = "definition"
)

var changeable = []string{fieldDisplayName, fieldDescription, fieldDefinition}

// maskedFields are the fields to change. Without a mask they are those that are set (AIP-134), `*` is all of them. A path into a
// definition, a field that the service sets, and a name that is no field are refused, all at once.
func maskedFields(request *agentv1.UpdateAgentRequest) (map[string]struct{}, error) {
	fields := make(map[string]struct{})
	agent := request.GetAgent()
	paths := request.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		if agent.GetDisplayName() != "" {
			fields[fieldDisplayName] = struct{}{}
		}
		if agent.GetDescription() != "" {
			fields[fieldDescription] = struct{}{}
		}
		if agent.GetDefinition() != nil {
			fields[fieldDefinition] = struct{}{}
		}
		return fields, nil
	}
	if slices.Equal(paths, []string{"*"}) {
		paths = changeable
	}
	var violations []rpcerr.Violation
	for _, path := range paths {
		if slices.Contains(changeable, path) {
			fields[path] = struct{}{}
			continue
		}
		violations = append(violations, badPath(agent, path))
	}
	if violations != nil {
		return nil, rpcerr.Invalid(violations...)
	}
	return fields, nil
}

// badPath names a field in the form of JSON, so that a REST caller finds it in the body, and a path that is no field as part of the
// mask.
func badPath(agent *agentv1.Agent, path string) rpcerr.Violation {
	if field := agent.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(path)); field != nil {
		return rpcerr.Violation{Field: "agent." + field.JSONName(), Reason: "is set by the service and cannot be changed"}
	}
	return rpcerr.Violation{Field: "updateMask", Reason: "names something other than displayName, description and definition"}
}
