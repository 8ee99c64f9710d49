package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// EnvPrefix begins the environment variable of every setting.
const EnvPrefix = "PROSA"

// YAML reads a configuration file: setting names and values. Its values are
// defaults, so that flags and environment variables win. Names that are no
// setting are refused, all at once.
func YAML(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	decoder := yaml.NewDecoder(r)
	if err := decoder.Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("read configuration: must be one document")
	}
	known := map[string]bool{}
	for _, setting := range settings() {
		known[setting.name] = true
	}
	var unknown []string
	for name := range values {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, fmt.Errorf("read configuration: unknown settings: %s", strings.Join(unknown, ", "))
	}
	for _, setting := range settings() {
		if value, ok := values[setting.name]; ok && !settable(value) {
			return nil, fmt.Errorf("read configuration: %s: must be a text, a number, true or false, or a list of those", setting.name)
		}
	}
	return fileResolver(values), nil
}

// settable says that a value can be said as a flag says it.
func settable(value any) bool {
	if list, ok := value.([]any); ok {
		return !slices.ContainsFunc(list, func(item any) bool { return !scalar(item) })
	}
	return scalar(value)
}

func scalar(value any) bool {
	switch value.(type) {
	case string, bool, int, int64, uint64, float64:
		return true
	}
	return false
}

// fileResolver gives kong the values of a configuration file.
type fileResolver map[string]any

// Validate has nothing to say: unknown names were refused when the file was
// read.
func (fileResolver) Validate(*kong.Application) error { return nil }

// Resolve gives a flag its value of the file, unless its environment variable
// is set.
func (f fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, name := range flag.Tag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	if list, ok := value.([]any); ok {
		parts := make([]string, len(list))
		for i, item := range list {
			parts[i] = fmt.Sprint(item)
		}
		return strings.Join(parts, ","), nil
	}
	return fmt.Sprint(value), nil
}

// setting is one field of Settings.
type setting struct {
	name   string
	secret bool
	index  int
}

// settings lists the fields of Settings by their flag's name.
func settings() []setting {
	t := reflect.TypeFor[Settings]()
	list := make([]setting, t.NumField())
	for i := range list {
		field := t.Field(i)
		name := field.Tag.Get("name")
		if name == "" {
			name = kebab(field.Name)
		}
		_, secret := field.Tag.Lookup("secret")
		list[i] = setting{name: name, secret: secret, index: i}
	}
	return list
}

// kebab is the flag name that kong makes of a Go name whose words begin with
// one capital each: LogLevel is log-level.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// Print writes the settings as a configuration file, secrets masked.
func (s *Settings) Print(w io.Writer) error {
	v := reflect.ValueOf(s).Elem()
	for _, setting := range settings() {
		value := v.Field(setting.index).Interface()
		text := fmt.Sprint(value)
		if list := v.Field(setting.index); list.Kind() == reflect.Slice {
			parts := make([]string, list.Len())
			for i := range parts {
				parts[i] = fmt.Sprint(list.Index(i).Interface())
			}
			text = strings.Join(parts, ",")
		}
		if setting.secret && text != "" {
			text = "********"
		}
		if _, isBool := value.(bool); !isBool {
			text = fmt.Sprintf("%q", text)
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", setting.name, text); err != nil {
			return err
		}
	}
	return nil
}
