package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// nameField is a field of a request by which something or somebody is named.
type nameField []protoreflect.FieldDescriptor

// nameFields are the fields of a message, at any depth, that name something.
// The rule is by name, so that a new field is found: `instance`, `slug`, ids,
// page tokens, and that by which persons are known.
func nameFields(t *testing.T, message protoreflect.MessageDescriptor) []nameField {
	t.Helper()
	var found []nameField
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if inner := field.Message(); inner != nil {
			if strings.HasPrefix(string(inner.FullName()), "google.protobuf.") {
				continue
			}
			deeper := nameFields(t, inner)
			require.False(t, field.IsMap() && len(deeper) > 0,
				"%s repeats something with names in it: teach nameField to go into maps", field.FullName())
			for _, path := range deeper {
				found = append(found, append(nameField{field}, path...))
			}
			continue
		}
		if names(string(field.Name())) || secretNames[field.FullName()] {
			require.False(t, field.IsList(), "%s is a list of names: teach nameField to go into lists", field.FullName())
			found = append(found, nameField{field})
		}
	}
	return found
}

// secretNames are the fields by which secrets are named, which have no ids.
var secretNames = map[protoreflect.FullName]bool{
	"prosa.agent.v1.SetSecretRequest.name": true, "prosa.agent.v1.DeleteSecretRequest.name": true,
}

func names(field string) bool {
	switch field {
	case "instance", "slug", "id", "identifier", "pagination", "page_token", "cursor", "cpf", "phone", "email", "idmessage", "idconv":
		return true
	}
	return strings.HasSuffix(field, "_id") || strings.HasPrefix(field, "id_") || strings.HasSuffix(field, "_identifier") || strings.HasPrefix(field, "identification_number")
}

func (f nameField) last() protoreflect.FieldDescriptor { return f[len(f)-1] }

// String is the field's path, as in "channel.agent_id".
func (f nameField) String() string {
	parts := make([]string, len(f))
	for i, field := range f {
		parts[i] = string(field.Name())
	}
	return strings.Join(parts, ".")
}

// holder is the message that has the field; of a list it is the first that
// does. Nil when there is none.
func (f nameField) holder(message proto.Message) protoreflect.Message {
	at := message.ProtoReflect()
	for _, field := range f[:len(f)-1] {
		switch value := at.Get(field); {
		case !field.IsList():
			at = value.Message()
		case value.List().Len() == 0:
			return nil
		default:
			at = value.List().Get(0).Message()
		}
	}
	return at
}

func (f nameField) has(message proto.Message) bool {
	at := f.holder(message)
	return at != nil && at.Has(f.last())
}

func (f nameField) value(message proto.Message) protoreflect.Value {
	if at := f.holder(message); at != nil {
		return at.Get(f.last())
	}
	return f.last().Default()
}

// with is the message with this field as it is in another one.
func (f nameField) with(message, other proto.Message) proto.Message {
	changed := proto.CloneOf(message)
	at := changed.ProtoReflect()
	for _, field := range f[:len(f)-1] {
		if field.IsList() {
			at = at.Mutable(field).List().Get(0).Message() // it has one: that is where the field was found
		} else {
			at = at.Mutable(field).Message()
		}
	}
	at.Set(f.last(), f.value(other))
	return changed
}
