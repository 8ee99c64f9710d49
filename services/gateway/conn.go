package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/gateway/internal/jsonin"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// conn is a connection to a service that first completes the request. The generated handlers see neither body nor query: they
// fill in the path and call. Here, with the request's descriptor at hand and a way to return an error as it is, everything else
// is read, and everything that is wrong is told at once.
type conn struct {
	next     grpc.ClientConnInterface
	bindings *bindings
	imports  chan struct{} // has an element for each import that runs; shared by all connections
}

// Invoke completes the request and makes the call.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	call, b := callFrom(ctx), c.bindings.byMethod[method]
	message, ok := args.(proto.Message)
	if call == nil || b == nil || !ok {
		return refuse(http.StatusInternalServerError)
	}
	call.binding, call.message = b, message
	if b.most > MaxBody {
		select {
		case c.imports <- struct{}{}:
			defer func() { <-c.imports }()
		default:
			return &refusal{status: http.StatusServiceUnavailable, reason: reasonUnavailable, retryAfter: time.Second}
		}
	}
	if err := complete(call, b, message); err != nil {
		return c.allFaults(ctx, method, message, reply, err, opts)
	}
	if method == channelv1.PersonService_GetContact_FullMethodName {
		opts = append(opts, grpc.MaxCallRecvMsgSize(maxDocument)) // everything that is kept about a person
	}
	return c.next.Invoke(ctx, method, args, reply, opts...)
}

// maxDocument is how large the largest answer may be.
const maxDocument = 128 << 20

// NewStream makes the call as it is.
func (c *conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.next.NewStream(ctx, desc, method, opts...)
}

// complete fills in what the body and the query carry.
func complete(call *call, b *binding, message proto.Message) error {
	if b.surface != call.surface {
		return refuse(http.StatusNotFound) // "/contacts/api/x" is no integration
	}
	reflected := message.ProtoReflect()
	if b.strict {
		bindPath(call.path, b, reflected)
	}
	for number := range b.bound {
		if value := reflected.Get(b.request.Fields().ByNumber(number)); value.IsValid() && value.Interface() == "" {
			return refuse(http.StatusNotFound) // "/v1/instances//channels"
		}
	}
	// A call without any credential is refused before its body is read. Whether a credential is good, the service says.
	header := call.request.Header
	if !b.open && header.Get("Authorization") == "" && header.Get("X-Api-Key") == "" {
		return &refusal{status: http.StatusUnauthorized, reason: reasonCredentialsMissing}
	}

	if b.mask != nil {
		reflected.Clear(b.mask) // the generated handler made an empty one of the body that it does not see
	}
	invalid := checkIdempotencyKey(call, b)
	if call.request.URL.RawQuery != "" && (b.strict || b.surface == surfaceConversation) {
		invalid = append(invalid, readQuery(call.request.URL.RawQuery, b, reflected)...)
	}
	if b.hasBody() {
		faults, refused := decodeBody(call, b, reflected)
		if refused != nil {
			return refused
		}
		for _, fault := range faults {
			invalid = append(invalid, rpcerr.Violation{Field: fault.Name, Reason: fault.Reason})
		}
	}
	if len(invalid) == 0 {
		return nil
	}
	// The service would tell the rest only after these are mended; the caller is to know all at once.
	return &refusal{status: http.StatusBadRequest, reason: reasonRequestInvalid, invalid: append(invalid, unruly(message, b, invalid)...)}
}

// bindPath fills in again what the path carries. grpc-gateway leaves an encoded slash as it is, and decodes twice what has no other
// encoded character than the percent sign; names of persons may have both.
func bindPath(path string, b *binding, request protoreflect.Message) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if !b.matches(segments) {
		return
	}
	for i, want := range b.path {
		open, end := strings.Index(want, "{"), strings.Index(want, "}")
		if open < 0 {
			continue
		}
		field := b.request.Fields().ByName(protoreflect.Name(want[open+1 : end]))
		text, err := url.PathUnescape(strings.TrimSuffix(segments[i], want[end+1:]))
		if err == nil && utf8.ValidString(text) && field.Kind() == protoreflect.StringKind {
			request.Set(field, protoreflect.ValueOfString(text))
		}
	}
}

// decodeBody reads the body into the request. No body is the same as an empty object, so that the answer names the fields that
// are missing.
func decodeBody(call *call, b *binding, request protoreflect.Message) ([]jsonin.Fault, *refusal) {
	buffer := buffers.Get().(*[]byte)
	defer keepBuffer(buffer)
	raw, refused := readBody(call.writer.ResponseWriter, call.request, buffer, b.most)
	if refused != nil {
		return nil, refused
	}
	target, options := request, jsonin.Options{RefuseUnknown: b.strict}
	if b.body != nil {
		target = request.Mutable(b.body).Message()
	} else if len(b.bound) > 0 {
		options.Hidden = func(field protoreflect.FieldDescriptor) bool { return b.bound[field.Number()] }
	}
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	read := jsonin.Decode(raw, target, options)
	if read.Malformed != "" {
		return nil, &refusal{status: http.StatusBadRequest, reason: reasonRequestInvalid, malformed: read.Malformed}
	}
	unwrapMetadata(request.Interface())
	if b.mask != nil && !request.Has(b.mask) {
		request.Set(b.mask, protoreflect.ValueOfMessage(maskOf(read.Named).ProtoReflect()))
	}
	return read.Faults, nil
}

// maskOf makes the update mask of a PATCH: the fields that the body names, as a whole each.
func maskOf(named []protoreflect.FieldDescriptor) *fieldmaskpb.FieldMask {
	mask := &fieldmaskpb.FieldMask{Paths: make([]string, len(named))}
	for i, field := range named {
		mask.Paths[i] = string(field.Name())
	}
	return mask
}
