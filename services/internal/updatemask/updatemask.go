// Package updatemask reads what an update wants to change (AIP-134), in one way for every resource.
package updatemask

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// all is the path that stands for every field that can be changed.
const all = "*"

// Rules say what an update of a resource may name. Fields are named as in the contract: "display_name". A field that is in neither
// list is fixed at creation.
type Rules struct {
	// Resource is the field of the request that holds the resource, in the name that REST callers know: "channel".
	Resource string
	// Changeable are the fields that can be changed, and what `*` stands for.
	Changeable []string
	// Output are the fields that the service sets. To name one changes nothing (AIP-203), so that a caller may send back what it got.
	Output []string
}

// Paths are the changeable fields that the mask names, each once, in its order; without a mask those of the fields that are set.
// The violations name every fixed field as a field of the resource, and every path that is no field of it, one below a field
// included, as a mistake of the mask.
func (r Rules) Paths(resource proto.Message, mask *fieldmaskpb.FieldMask) (paths []string, violations []rpcerr.Violation) {
	fields := resource.ProtoReflect().Descriptor().Fields()
	named := mask.GetPaths()
	if len(named) == 0 {
		named = set(resource.ProtoReflect(), fields)
	}
	for _, path := range r.expand(named) {
		switch field := fields.ByName(protoreflect.Name(path)); {
		case slices.Contains(r.Changeable, path):
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		case slices.Contains(r.Output, path):
		case field != nil:
			violations = append(violations, rpcerr.Violation{Field: r.Resource + "." + field.JSONName(), Reason: "cannot be changed"})
		default:
			violations = append(violations, rpcerr.Violation{Field: "updateMask", Reason: "has no field " + quoted(path)})
		}
	}
	return paths, violations
}

func (r Rules) expand(named []string) []string {
	if !slices.Contains(named, all) {
		return named
	}
	var paths []string
	for _, path := range named {
		if path == all {
			paths = append(paths, r.Changeable...)
		} else {
			paths = append(paths, path)
		}
	}
	return paths
}

func set(resource protoreflect.Message, fields protoreflect.FieldDescriptors) []string {
	var names []string
	for i := range fields.Len() {
		if field := fields.Get(i); resource.Has(field) {
			names = append(names, string(field.Name()))
		}
	}
	return names
}

// quoted writes a name from a request so that it is safe to show.
func quoted(name string) string {
	const maxShown = 64
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	return strconv.QuoteToASCII(name)
}
