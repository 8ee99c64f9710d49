package definition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

const (
	// MaxSource is the greatest length of a definition's text, in bytes.
	MaxSource = 256 << 10

	// maxValues is how many values a definition may have when its aliases are followed.
	maxValues = 100_000
)

// place is a place in the source, from 1.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// source is a document whose tree has been made fit for decoding: aliases are followed, and fields that are null are gone, as in
// JSON, where null means that a field is not set.
type source struct {
	root   *yaml.Node
	lines  int // at least as many as any node's line
	values int
	faults Faults
	// places are the places of the values, and keys those of their names, by path; paths is the other way around.
	places, keys map[path]place
	paths        map[place]path
	// wrong are the fields that could not be read.
	wrong map[path]bool
}

// read parses a text and walks it along the schema. The faults are those of the YAML, and fields that are unknown or given twice; with
// a nil root nothing can be said about the rest.
func read(text []byte) *source {
	s := &source{places: make(map[path]place), keys: make(map[path]place), paths: make(map[place]path), wrong: make(map[path]bool)}
	if len(text) > MaxSource {
		s.fault(place{1, 1}, "", "the definition is longer than %d bytes", MaxSource)
		return s
	}
	root, fault := parse(text)
	if fault != nil {
		s.faults = Faults{*fault}
		return s
	}
	s.message(root, (&agentv1.AgentDefinition{}).ProtoReflect().Descriptor(), "")
	if s.values > maxValues {
		s.faults = nil
		s.fault(place{1, 1}, "", "the definition has more than %d values", maxValues)
		return s
	}
	s.root, s.lines = root, lineCount(text)
	return s
}

// parse gives the root of the only document of a text, which is a mapping.
func parse(text []byte) (*yaml.Node, *Fault) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF) || err == nil && (len(document.Content) != 1 || document.Content[0].Tag == "!!null"):
		return nil, &Fault{Line: 1, Column: 1, Reason: "the definition is empty"}
	case err != nil:
		return nil, syntaxFault(err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, &Fault{Line: second.Line, Column: second.Column, Reason: "there is a second document; a definition is one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxFault(err)
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, &Fault{Line: root.Line, Column: root.Column, Reason: "the definition must be an object"}
	}
	return root, nil
}

// lineCount gives how many lines YAML can see in a text: it breaks lines at more characters than the line feed.
func lineCount(text []byte) int {
	return 1 + bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + bytes.Count(text, []byte("\u0085")) +
		bytes.Count(text, []byte("\u2028")) + bytes.Count(text, []byte("\u2029"))
}

var yamlLine = regexp.MustCompile(`^(?:line (\d+): )?(.*)$`)

// syntaxFault makes a fault of an error of the YAML parser, which has the line in its text only.
func syntaxFault(err error) *Fault {
	fault := &Fault{Line: 1, Column: 1, Reason: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine.FindStringSubmatch(fault.Reason); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			fault.Line = line
		}
		fault.Reason = m[2]
	}
	return fault
}

func (s *source) fault(at place, field path, format string, args ...any) {
	s.faults = append(s.faults, Fault{Line: at.line, Column: at.column, Field: string(field), Reason: fmt.Sprintf(format, args...)})
}

// note remembers where a value is, and its key if it has one.
func (s *source) note(p path, key, value *yaml.Node) {
	s.places[p] = placeOf(value)
	if _, taken := s.paths[placeOf(value)]; !taken {
		s.paths[placeOf(value)] = p
	}
	if key == nil {
		return
	}
	s.keys[p] = placeOf(key)
	if _, taken := s.paths[placeOf(key)]; !taken {
		s.paths[placeOf(key)] = p
	}
	// A value that begins on a later line is best shown by its name.
	if value.Kind != yaml.ScalarNode && value.Line > key.Line {
		s.places[p] = placeOf(key)
	}
}

// follow gives the node that content[i] stands for, and puts it there.
func (s *source) follow(content []*yaml.Node, i int) *yaml.Node {
	s.values++
	for content[i].Kind == yaml.AliasNode && content[i].Alias != nil {
		content[i] = content[i].Alias
	}
	return content[i]
}

func (s *source) message(n *yaml.Node, of protoreflect.MessageDescriptor, at path) {
	if n.Kind != yaml.MappingNode || of.ParentFile().Package() == "google.protobuf" {
		return // the decoder says what is wrong, if anything is
	}
	seen := make(map[protoreflect.Name]bool)
	kept := n.Content[:0:0]
	for i := 0; i+1 < len(n.Content) && s.values <= maxValues; i += 2 {
		key, value := s.follow(n.Content, i), s.follow(n.Content, i+1)
		field := fieldByName(of, key)
		switch {
		case field == nil:
			s.fault(placeOf(key), at.key(key.Value), "unknown field; there are %s", fieldNames(of))
			continue
		case seen[field.Name()]:
			s.fault(placeOf(key), at.field(field.JSONName()), "given twice")
			continue
		}
		seen[field.Name()] = true
		if value.Tag == "!!null" {
			continue
		}
		kept = append(kept, key, value)
		s.field(key, value, field, at.field(field.JSONName()))
	}
	n.Content = kept
}

func (s *source) field(key, value *yaml.Node, field protoreflect.FieldDescriptor, at path) {
	s.note(at, key, value)
	switch {
	case field.IsMap():
		s.entries(value, field.MapValue(), at)
	case field.IsList():
		s.elements(value, field, at)
	case field.Message() != nil:
		s.message(value, field.Message(), at)
	}
}

func (s *source) entries(n *yaml.Node, of protoreflect.FieldDescriptor, at path) {
	if n.Kind != yaml.MappingNode {
		return
	}
	seen := make(map[string]bool)
	kept := n.Content[:0:0]
	for i := 0; i+1 < len(n.Content) && s.values <= maxValues; i += 2 {
		key, value := s.follow(n.Content, i), s.follow(n.Content, i+1)
		entry := at.key(key.Value)
		if seen[key.Value] {
			s.fault(placeOf(key), entry, "given twice")
			continue
		}
		seen[key.Value] = true
		// `human:` alone is a node without anything. A text that is null is none.
		if value.Tag == "!!null" && of.Message() == nil {
			continue
		}
		kept = append(kept, key, value)
		s.note(entry, key, value)
		if of.Message() != nil {
			s.message(value, of.Message(), entry)
		}
	}
	n.Content = kept
}

func (s *source) elements(n *yaml.Node, of protoreflect.FieldDescriptor, at path) {
	if n.Kind != yaml.SequenceNode {
		return
	}
	for i := 0; i < len(n.Content) && s.values <= maxValues; i++ {
		value, element := s.follow(n.Content, i), at.index(i)
		s.note(element, nil, value)
		switch {
		case value.Tag == "!!null":
			s.fault(placeOf(value), element, "is null")
			s.wrong[element] = true
		case of.Message() != nil:
			s.message(value, of.Message(), element)
		}
	}
}

// fieldByName finds a field by its name in JSON or in the schema. Numbers, which the decoder would take, are no names.
func fieldByName(of protoreflect.MessageDescriptor, key *yaml.Node) protoreflect.FieldDescriptor {
	if key.Kind != yaml.ScalarNode {
		return nil
	}
	if field := of.Fields().ByJSONName(key.Value); field != nil {
		return field
	}
	return of.Fields().ByTextName(key.Value)
}

func fieldNames(of protoreflect.MessageDescriptor) string {
	names := make([]string, of.Fields().Len())
	for i := range names {
		names[i] = of.Fields().Get(i).JSONName()
	}
	return strings.Join(names, ", ")
}

// locate gives the place of a field: its own, or that of the nearest thing that holds it.
func (s *source) locate(p path, key bool) place {
	if at, ok := s.keys[p]; ok && key {
		return at
	}
	for ; p != ""; p = p.parent() {
		if at, ok := s.places[p]; ok {
			return at
		}
	}
	return placeOf(s.root)
}
