package flow_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
)

// notSeen are the fields that change nothing in a conversation: they are for models and for people.
var notSeen = []string{"Node.arguments", "Node.description", "NodeArgument"}

// Whatever a node can have is in a conversation of testdata, so that nothing of a node is without one.
func TestConversationsHaveEveryKindOfNode(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	used := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var cases []conversation
		require.NoError(t, yaml.Unmarshal(text, &cases))
		for _, c := range cases {
			written := &c.Definition
			if written.Kind == yaml.AliasNode {
				written = written.Alias
			}
			source, err := yaml.Marshal(written)
			require.NoError(t, err)
			def, err := definition.ParseYAML(source)
			require.NoError(t, err, c.Name)
			for _, node := range def.GetNodes() {
				collect(node.ProtoReflect(), used)
				if as, _, _ := strings.Cut(node.GetAsk().GetAs(), ":"); as != "" {
					used["as "+as] = true
				}
				for _, say := range node.GetSay() {
					used["media "+say.GetMedia().GetType()] = true
				}
				used["method "+node.GetCall().GetMethod()] = true
			}
		}
	}
	var missing []string
	for _, wanted := range append(fields((&agentv1.Node{}).ProtoReflect().Descriptor()),
		"as text", "as number", "as date", "as email", "as phone", "as cpf", "as cnpj", "as regex",
		"media image", "media video", "media audio", "media document", "media sticker",
		"method ", "method GET", "method POST", "method PUT", "method PATCH", "method DELETE",
	) {
		if !used[wanted] {
			missing = append(missing, wanted)
		}
	}
	require.Empty(t, missing)
}

// fields are the names of all fields of a message, and of those inside it, as "Message.field".
func fields(of protoreflect.MessageDescriptor) []string {
	var all []string
	for i := range of.Fields().Len() {
		field := of.Fields().Get(i)
		name := string(of.Name()) + "." + string(field.Name())
		if slices.Contains(notSeen, name) {
			continue
		}
		all = append(all, name)
		if inner := field.Message(); inner != nil && !field.IsMap() && inner.ParentFile() == of.ParentFile() {
			all = append(all, fields(inner)...)
		}
	}
	return all
}

func collect(message protoreflect.Message, used map[string]bool) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		used[string(field.Parent().Name())+"."+string(field.Name())] = true
		switch {
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				collect(value.List().Get(i).Message(), used)
			}
		default:
			collect(value.Message(), used)
		}
		return true
	})
}
