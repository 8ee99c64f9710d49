package gateway

import (
	"net/url"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/prosa-chat/prosa/services/gateway/internal/jsonin"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxQueryFaults bounds the answer to a query that is nothing but faults.
const maxQueryFaults = 100

// readQuery reads the query parameters of a call into its request. They are the fields that neither path nor body carries, by their
// JSON names; all others are refused by name where the surface is strict, and ignored elsewhere.
func readQuery(raw string, b *binding, request protoreflect.Message) []rpcerr.Violation {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return []rpcerr.Violation{{Field: "query", Reason: "is not a valid query string"}}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	var invalid []rpcerr.Violation
	for _, name := range names {
		field := b.query[name]
		switch {
		case len(invalid) == maxQueryFaults:
			return invalid
		case field == nil && !b.strict:
			continue
		case field == nil:
			invalid = append(invalid, rpcerr.Violation{Field: name, Reason: "is not a known parameter"})
			continue
		case len(values[name]) > 1 && !field.IsList():
			invalid = append(invalid, rpcerr.Violation{Field: name, Reason: "is given twice"})
			continue
		}
		for _, text := range values[name] {
			if reason := jsonin.SetText(request, field, text); reason != "" {
				invalid = append(invalid, rpcerr.Violation{Field: name, Reason: reason})
				break
			}
		}
	}
	return invalid
}
