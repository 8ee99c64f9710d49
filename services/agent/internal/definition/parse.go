package definition

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// ParseYAML reads a definition from YAML, which includes JSON, and checks it. The error is Faults, with places in the text.
func ParseYAML(text []byte) (*agentv1.AgentDefinition, error) {
	s := read(fromJSON(text))
	if s.root == nil {
		return nil, s.faults.sorted().err()
	}
	def, faults := s.decode()
	decoded := len(faults) == 0
	for _, found := range check(def, decoded) {
		if s.unread(found.field) {
			continue
		}
		at := s.locate(found.field, found.key)
		faults = append(faults, Fault{Line: at.line, Column: at.column, Field: string(found.field), Reason: found.reason})
	}
	if len(faults) > 0 {
		return nil, faults.sorted()
	}
	return def, nil
}

// FromValue reads a definition as a request carries it: a text of YAML or JSON, or an object. The error is Faults; those of an object
// have no places.
func FromValue(v *structpb.Value) (*agentv1.AgentDefinition, error) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return ParseYAML([]byte(kind.StringValue))
	case *structpb.Value_StructValue:
		text, err := kind.StructValue.MarshalJSON()
		if err != nil {
			return nil, Faults{{Reason: "the definition has a number that JSON cannot write"}}
		}
		def, err := ParseYAML(text)
		var faults Faults
		if errors.As(err, &faults) {
			for i := range faults {
				faults[i].Line, faults[i].Column = 0, 0
			}
			return nil, faults.sorted()
		}
		return def, nil
	default:
		return nil, Faults{{Reason: "a definition is a text of YAML or JSON, or an object"}}
	}
}

// Check finds what is wrong with a definition that was not read from a text. Its faults have no places.
func Check(def *agentv1.AgentDefinition) Faults {
	var faults Faults
	for _, found := range check(def, true) {
		faults = append(faults, Fault{Field: string(found.field), Reason: found.reason})
	}
	return faults.sorted()
}

// decode makes the message. The faults are those of reading too.
func (s *source) decode() (*agentv1.AgentDefinition, Faults) {
	def := &agentv1.AgentDefinition{}
	faults := s.faults
	// The decoder parses a text and quotes its lines in errors; this one is empty and as long as the text that was read.
	text := []byte("{}" + strings.Repeat("\n", s.lines))
	err := protoyaml.UnmarshalOptions{CustomUnmarshaler: substitute{s.root}}.Unmarshal(text, def)
	for _, one := range unjoin(err) {
		faults = append(faults, s.decodeFault(one))
	}
	return def, faults
}

// substitute gives the decoder the tree that was read in place of the one that it parsed.
type substitute struct{ root *yaml.Node }

// Unmarshal implements protoyaml.CustomUnmarshaler.
func (u substitute) Unmarshal(n *yaml.Node, message proto.Message) (bool, error) {
	if _, isRoot := message.(*agentv1.AgentDefinition); isRoot {
		*n = *u.root
	}
	return false, nil
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

var decodeError = regexp.MustCompile(`^:(\d+):(\d+) (.*)`)

// decodeFault makes a fault of an error of the decoder, which has its place in its text only.
func (s *source) decodeFault(err error) Fault {
	m := decodeError.FindStringSubmatch(err.Error())
	if m == nil {
		return Fault{Line: s.root.Line, Column: s.root.Column, Reason: err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	field := s.paths[place{line, column}]
	s.wrong[field] = true
	return Fault{Line: line, Column: column, Field: string(field), Reason: messageName.ReplaceAllString(m[3], "expected mapping,")}
}

// messageName is how the decoder calls a mapping: by the name of the message, which no author knows.
var messageName = regexp.MustCompile(`^expected fields for [a-zA-Z0-9_.]+,`)

// unread reports whether a field, or what holds it, could not be read: then it is not also missing or too short.
func (s *source) unread(p path) bool {
	for ; p != ""; p = p.parent() {
		if s.wrong[p] {
			return true
		}
	}
	return false
}
