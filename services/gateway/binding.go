package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// services are the names of the services that have HTTP options and are registered on the mux (newMux).
func services() []string {
	return []string{
		accountsv1.AccountsService_ServiceDesc.ServiceName,
		accountsv1.UsageService_ServiceDesc.ServiceName,
		agentv1.AgentService_ServiceDesc.ServiceName,
		agentv1.SecretService_ServiceDesc.ServiceName,
		agentv1.HandoffService_ServiceDesc.ServiceName,
		channelv1.ReplyService_ServiceDesc.ServiceName,
		agentv1.ChatService_ServiceDesc.ServiceName,
		agentv1.ConversationService_ServiceDesc.ServiceName,
		channelv1.ChannelService_ServiceDesc.ServiceName,
		channelv1.BotApiService_ServiceDesc.ServiceName,
		channelv1.BotApiInboundService_ServiceDesc.ServiceName,
		channelv1.DeliveryService_ServiceDesc.ServiceName,
		channelv1.PersonService_ServiceDesc.ServiceName,
		channelv1.InboundService_ServiceDesc.ServiceName,
		contactsv1.ContactsService_ServiceDesc.ServiceName,
		contactsv1.AttendanceService_ServiceDesc.ServiceName,
	}
}

// importMethod is the one whose bodies may be large.
const importMethod protoreflect.FullName = "prosa.contacts.v1.AttendanceService.ImportAttendances"

// binding is how one RPC is reached over HTTP, from its google.api.http option.
type binding struct {
	verb    string   // the HTTP method
	pattern string   // "/v1/instances/{instance}/channels"
	surface surface  // of all its paths; a path of another one is not the binding's, whatever "/{slug}/api/{id}" would match
	path    []string // its segments; "{…}" takes any one
	request protoreflect.MessageDescriptor
	open    bool  // callers need no key
	strict  bool  // what the contract does not know is refused: management
	most    int64 // the largest body that is read, in bytes

	// Where the fields of the request come from.
	bound map[protoreflect.FieldNumber]bool // the path
	whole bool                              // the body, all that the path does not carry
	body  protoreflect.FieldDescriptor      // the body is this field; nil when there is no body, or whole
	query map[string]protoreflect.FieldDescriptor
	mask  protoreflect.FieldDescriptor // the names that the body of a PATCH has; nil when there is none
}

// bindings are all RPCs that are reached over HTTP.
type bindings struct {
	byMethod map[string]*binding // "/package.Service/Method"
	all      []*binding
}

func newBindings(services []string) (*bindings, error) {
	made := &bindings{byMethod: make(map[string]*binding)}
	for _, name := range services {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return nil, fmt.Errorf("find contract of %s: %w", name, err)
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			rule, ok := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
			if !ok || rule == nil {
				continue
			}
			b, err := newBinding(method, rule)
			if err != nil {
				return nil, fmt.Errorf("bind %s: %w", method.FullName(), err)
			}
			made.byMethod["/"+name+"/"+string(method.Name())] = b
			made.all = append(made.all, b)
		}
	}
	return made, nil
}

func newBinding(method protoreflect.MethodDescriptor, rule *annotations.HttpRule) (*binding, error) {
	b := &binding{request: method.Input(), bound: make(map[protoreflect.FieldNumber]bool)}
	switch pattern := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		b.verb, b.pattern = http.MethodGet, pattern.Get
	case *annotations.HttpRule_Post:
		b.verb, b.pattern = http.MethodPost, pattern.Post
	case *annotations.HttpRule_Put:
		b.verb, b.pattern = http.MethodPut, pattern.Put
	case *annotations.HttpRule_Patch:
		b.verb, b.pattern = http.MethodPatch, pattern.Patch
	case *annotations.HttpRule_Delete:
		b.verb, b.pattern = http.MethodDelete, pattern.Delete
	}
	if b.verb == "" || len(rule.GetAdditionalBindings()) > 0 {
		return nil, fmt.Errorf("the option must have exactly one path with a method of HTTP")
	}
	access, _ := proto.GetExtension(method.Options(), accountsv1.E_Access).(accountsv1.Access)
	b.open = access == accountsv1.Access_ACCESS_OPEN
	b.surface = surfaceOf(b.pattern)
	b.strict = b.surface == surfaceManagement
	b.most = MaxBody
	if method.FullName() == importMethod {
		b.most = MaxImport
	}
	b.path = strings.Split(b.pattern[1:], "/")

	fields := b.request.Fields()
	for _, segment := range b.path {
		open, end := strings.Index(segment, "{"), strings.Index(segment, "}")
		if open < 0 {
			continue
		}
		field := fields.ByName(protoreflect.Name(segment[open+1 : end]))
		if field == nil {
			return nil, fmt.Errorf("%s is no field of the request", segment)
		}
		b.bound[field.Number()] = true
	}
	switch name := rule.GetBody(); name {
	case "":
	case "*":
		b.whole = true
	default:
		if b.body = fields.ByName(protoreflect.Name(name)); b.body == nil || b.body.Message() == nil || b.body.IsList() || b.body.IsMap() {
			return nil, fmt.Errorf("the body %q is no message of the request", name)
		}
	}
	b.query = make(map[string]protoreflect.FieldDescriptor)
	for i := range fields.Len() {
		field := fields.Get(i)
		if b.whole || b.bound[field.Number()] || field == b.body {
			continue
		}
		b.query[field.JSONName()] = field
		if b.verb == http.MethodPatch && field.Message() != nil && field.Message().FullName() == "google.protobuf.FieldMask" {
			b.mask = field
		}
	}
	return b, nil
}

// hasBody reports whether the call's body is read at all.
func (b *binding) hasBody() bool { return b.whole || b.body != nil }

// relative makes of a field's path in the request the name that the caller knows it by: what stands in the body is named as
// it stands there.
func (b *binding) relative(name string) string {
	if b == nil || b.body == nil {
		return name
	}
	if inner, ok := strings.CutPrefix(name, b.body.JSONName()+"."); ok {
		return inner
	}
	return name
}

// matches reports whether a path, in escaped segments, is one of the binding's.
func (b *binding) matches(path []string) bool {
	if len(path) != len(b.path) {
		return false
	}
	for i, want := range b.path {
		have := path[i]
		if open := strings.Index(want, "{"); open >= 0 {
			verb := want[strings.Index(want, "}")+1:] // ":pause" of "{id}:pause"
			have, verbatim := strings.CutSuffix(have, verb)
			if !verbatim || have == "" {
				return false
			}
			continue
		}
		if have != want {
			return false
		}
	}
	return true
}

// allowed are the methods that a path has, as the Allow header lists them; empty when there is nothing at the path.
func (b *bindings) allowed(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var verbs []string
	of := surfaceOf(path)
	for _, candidate := range b.all {
		if candidate.surface == of && candidate.matches(segments) {
			verbs = append(verbs, candidate.verb)
		}
	}
	slices.Sort(verbs)
	return strings.Join(slices.Compact(verbs), ", ")
}
