// Command surfaces tells the OpenAPI document what the generator cannot know
// from the contracts: how the gateway answers on each surface. It reads the
// joined document from standard input and writes the finished one.
//
// What to change is data, in surfaces.json: a merge patch (RFC 7396) for the
// whole document, and for each surface one for all of its operations, with
// the parameters that are added to those of a method.
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
)

//go:embed surfaces.json
var surfaces []byte

// changes are what surfaces.json holds.
type changes struct {
	// Document is the patch of the whole.
	Document map[string]any `json:"document"`
	// Surfaces are patches of operations, by the beginning of their paths.
	Surfaces map[string]struct {
		// Operation is the patch of every operation.
		Operation map[string]any `json:"operation"`
		// Parameters are added to those of each operation, by method.
		Parameters map[string][]any `json:"parameters"`
	} `json:"surfaces"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "surfaces:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var change changes
	if err := json.Unmarshal(surfaces, &change); err != nil {
		return fmt.Errorf("read surfaces.json: %w", err)
	}
	var document map[string]any
	if err := json.NewDecoder(in).Decode(&document); err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	if err := apply(document, change); err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// apply changes the document. A surface without a path is an error, and so is
// a path without a surface: one of the two has moved.
func apply(document map[string]any, change changes) error {
	paths, _ := document["paths"].(map[string]any)
	used := map[string]bool{}
	for path, item := range paths {
		prefix := "/" + strings.Split(path, "/")[1]
		surface, ok := change.Surfaces[prefix]
		if !ok {
			return fmt.Errorf("path %s: no surface %s", path, prefix)
		}
		used[prefix] = true
		for method, operation := range item.(map[string]any) {
			found, ok := operation.(map[string]any)
			if !ok {
				continue
			}
			merge(found, surface.Operation)
			if added := surface.Parameters[method]; len(added) > 0 {
				parameters, _ := found["parameters"].([]any)
				found["parameters"] = append(parameters, added...)
			}
		}
	}
	for prefix := range change.Surfaces {
		if !used[prefix] {
			return fmt.Errorf("surface %s: no such path", prefix)
		}
	}
	merge(document, change.Document)
	return prune(document)
}

// merge applies a merge patch (RFC 7396) to an object.
func merge(target, patch map[string]any) {
	for name, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(target, name)
		case map[string]any:
			inner, ok := target[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
			}
			inner = maps.Clone(inner) // a patch serves many operations
			merge(inner, value)
			target[name] = inner
		default:
			target[name] = value
		}
	}
}

const schemaPlace = "#/components/schemas/"

// prune takes out the schemas that nothing refers to any more.
func prune(document map[string]any) error {
	components, _ := document["components"].(map[string]any)
	schemas, ok := components["schemas"].(map[string]any)
	if !ok {
		return errors.New("the document has no schemas")
	}
	wanted := map[string]bool{}
	var follow func(value any)
	follow = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, item := range value {
				follow(item)
			}
		case map[string]any:
			for key, item := range value {
				reference, _ := item.(string)
				name, ok := strings.CutPrefix(reference, schemaPlace)
				if key != "$ref" || !ok {
					follow(item)
				} else if !wanted[name] {
					wanted[name] = true
					follow(schemas[name])
				}
			}
		}
	}
	follow(document["paths"])
	for name := range wanted {
		if schemas[name] == nil {
			return fmt.Errorf("schema %s is referred to and not there", name)
		}
	}
	maps.DeleteFunc(schemas, func(name string, _ any) bool { return !wanted[name] })
	return nil
}
