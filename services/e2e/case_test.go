package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// testCase is one file of cases/: what is sent, what is answered, and what is
// delivered. In every text ${name} stands for a value of the case: instance,
// agentId, channelId, key, rootKey, and what steps keep.
type testCase struct {
	// Name says what is shown.
	Name string `yaml:"name"`
	// Agent is the definition of the agent that answers; default: an echo.
	Agent string `yaml:"agent"`
	// Test makes the channel one for trying things out.
	Test bool `yaml:"test"`
	// Steps run in order.
	Steps []step `yaml:"steps"`
}

// step is one call, with what must come of it.
type step struct {
	// Send is the call. Without it the step only waits for deliveries.
	Send *call `yaml:"send"`
	// Status is the HTTP status that must be answered; default 200.
	Status int `yaml:"status"`
	// Answer is what the JSON answered must be: texts that begin with ~ are
	// regular expressions of texts and numbers, everything else must be equal.
	Answer any `yaml:"answer"`
	// Raw is what the body answered must be, to the byte but for
	// placeholders.
	Raw string `yaml:"raw"`
	// Headers are headers that must be answered, as regular expressions.
	Headers map[string]string `yaml:"headers"`
	// Keep stores values of the JSON answered under names: name → key, or the
	// name of a list, a dot and the key in its first item.
	Keep map[string]string `yaml:"keep"`
	// Until repeats the step until it holds: for what happens a little later.
	Until bool `yaml:"until"`
	// Deliveries are the bodies of the next webhooks of the case, to the byte
	// but for placeholders: ${hex} is an id, ${time} a time with milliseconds,
	// ${any} any text without quotes, ${number} a number, ${rest} the rest.
	Deliveries []string `yaml:"deliveries"`
	// DeliveryHeaders are headers that each of these must have, as regular
	// expressions with values; an empty one must not be there.
	DeliveryHeaders map[string]string `yaml:"deliveryHeaders"`
	// RESTOnly leaves the step out over gRPC, where it has no meaning.
	RESTOnly bool `yaml:"restOnly"`
}

// call is a request.
type call struct {
	Method  string            `yaml:"method"`
	Path    string            `yaml:"path"`
	Headers map[string]string `yaml:"headers"`
	// JSON is the body as a value, Body the body as it is. A body with neither
	// is empty.
	JSON any    `yaml:"json"`
	Body string `yaml:"body"`
	// Pad makes the body as long as that, in bytes, with spaces behind it.
	Pad int `yaml:"pad"`
	// Chunked sends the body without saying how long it is.
	Chunked bool `yaml:"chunked"`
}

// loadCases reads cases/.
func loadCases(t *testing.T) []testCase {
	t.Helper()
	files, err := filepath.Glob("cases/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var cases []testCase
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var c testCase
		decoder := yaml.NewDecoder(strings.NewReader(string(content)))
		decoder.KnownFields(true)
		require.NoError(t, decoder.Decode(&c), file)
		require.NotEmpty(t, c.Steps, file)
		c.Name = strings.TrimSuffix(filepath.Base(file), ".yaml")
		cases = append(cases, c)
	}
	return cases
}

// values are what ${name} stands for.
type values map[string]string

var placeholder = regexp.MustCompile(`\$\{([A-Za-z]+)\}`)

// expand puts the values into a text; unknown names stay.
func (v values) expand(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		if value, ok := v[found[2:len(found)-1]]; ok {
			return value
		}
		return found
	})
}

// expandAll puts the values into every text of a YAML value.
func (v values) expandAll(value any) any {
	switch value := value.(type) {
	case string:
		return v.expand(value)
	case []any:
		list := make([]any, len(value))
		for i, item := range value {
			list[i] = v.expandAll(item)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(value))
		for key, item := range value {
			object[v.expand(key)] = v.expandAll(item)
		}
		return object
	default:
		return value
	}
}

// patterns are what the placeholders of bodies match.
var patterns = map[string]string{
	"hex":    `[0-9a-f]{24}`,
	"trace":  `(null|"[0-9a-f]{32}")`,
	"time":   `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`,
	"any":    `[^"]*`,
	"number": `\d+(\.\d+)?`,
	"rest":   `.*`,
}

// bodyPattern is the regular expression of a body with placeholders.
func (v values) bodyPattern(text string) string {
	text = regexp.QuoteMeta(v.expand(strings.TrimSpace(text)))
	for name, pattern := range patterns {
		text = strings.ReplaceAll(text, regexp.QuoteMeta("${"+name+"}"), pattern)
	}
	return "^" + text + "$"
}

// byName orders a list of named things, as invalidParams, whose order has no
// meaning; other lists stay as they are.
func byName(list []any) []any {
	name := func(item any) string {
		object, _ := item.(map[string]any)
		text, _ := object["name"].(string)
		return text
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b any) int { return strings.Compare(name(a), name(b)) })
}

// difference says where got is not what want asks for, empty when it is.
func difference(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: want an object, got %v", path, got)
		}
		for key := range object {
			if _, ok := want[key]; !ok {
				return fmt.Sprintf("%s: unexpected %q", path, key)
			}
		}
		for key, value := range want {
			item, ok := object[key]
			if !ok {
				return fmt.Sprintf("%s: %q is missing", path, key)
			}
			if d := difference(path+"."+key, value, item); d != "" {
				return d
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s: want %d items, got %v", path, len(want), got)
		}
		want, list = byName(want), byName(list)
		for i := range want {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), want[i], list[i]); d != "" {
				return d
			}
		}
		return ""
	case string:
		if pattern, ok := strings.CutPrefix(want, "~"); ok {
			text, isText := got.(string)
			if number, isNumber := got.(float64); isNumber {
				text, isText = fmt.Sprint(number), true
			}
			if !isText || !regexp.MustCompile("^(?s:"+pattern+")$").MatchString(text) {
				return fmt.Sprintf("%s: want %s, got %v", path, want, got)
			}
			return ""
		}
	case int:
		if got == float64(want) {
			return ""
		}
	}
	if want != got {
		return fmt.Sprintf("%s: want %v, got %v", path, want, got)
	}
	return ""
}
