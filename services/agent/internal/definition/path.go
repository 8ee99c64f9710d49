package definition

import (
	"regexp"
	"strconv"
)

// path is the path of a field as Fault.Field has it.
type path string

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// field gives the path of a field, by its JSON name.
func (p path) field(name string) path {
	if p == "" {
		return path(name)
	}
	return p + "." + path(name)
}

// key gives the path of the entry of a map.
func (p path) key(key string) path {
	if identifier.MatchString(key) {
		return p.field(key)
	}
	return p + path("["+strconv.Quote(key)+"]")
}

// index gives the path of an element of a list.
func (p path) index(i int) path { return p + path("["+strconv.Itoa(i)+"]") }

// parent gives the path of what holds p, "" for the document.
func (p path) parent() path {
	quoted := false
	for i := len(p) - 1; i >= 0; i-- {
		switch c := p[i]; {
		case c == '"' && (i == 0 || p[i-1] != '\\'):
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			return p[:i]
		}
	}
	return ""
}
