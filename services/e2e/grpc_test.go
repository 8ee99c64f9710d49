package e2e

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	_ "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// grpcTransport makes the calls of cases over gRPC: the path is looked up in
// the google.api.http options of the contracts, as the gateway does.
type grpcTransport struct{ conn grpc.ClientConnInterface }

func (grpcTransport) hasBody() bool { return false }

func (g grpcTransport) call(ctx context.Context, t *testing.T, c call, v values) (answer, bool) {
	t.Helper()
	method, request, ok := bind(t, c, v)
	if !ok {
		return answer{}, false
	}
	for name, value := range c.Headers {
		switch name := strings.ToLower(name); name {
		case "authorization", "x-api-key", "idempotency-key":
			ctx = metadata.AppendToOutgoingContext(ctx, name, v.expand(value))
		}
	}
	reply := dynamicpb.NewMessage(method.Output())
	fullName := "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
	err := g.conn.Invoke(ctx, fullName, request, reply)
	body, marshalErr := protojson.Marshal(reply)
	require.NoError(t, marshalErr)
	return answer{status: httpStatus(err), body: body, header: http.Header{}}, true
}

var pathVariable = regexp.MustCompile(`\{([a-z_]+)\}`)

// bind finds the RPC of a call and makes its request. A body that the contract
// cannot express gives false.
func bind(t *testing.T, c call, v values) (protoreflect.MethodDescriptor, proto.Message, bool) {
	t.Helper()
	path := v.expand(c.Path)
	var method protoreflect.MethodDescriptor
	var rule *annotations.HttpRule
	var names, found []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				candidate, ok := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || candidate == nil {
					continue
				}
				verb, template := binding(candidate)
				pattern := "^" + pathVariable.ReplaceAllString(template, `([^/]+)`) + "$"
				match := regexp.MustCompile(pattern).FindStringSubmatch(path)
				if verb != c.Method || match == nil {
					continue
				}
				method, rule, found, names = methods.Get(j), candidate, match[1:], nil
				for _, variable := range pathVariable.FindAllStringSubmatch(template, -1) {
					names = append(names, variable[1])
				}
				return false
			}
		}
		return true
	})
	if method == nil {
		return nil, nil, false
	}
	request := dynamicpb.NewMessage(method.Input())
	body := c.body(t, v)
	target := proto.Message(request)
	if rule.GetBody() != "" && rule.GetBody() != "*" {
		field := method.Input().Fields().ByName(protoreflect.Name(rule.GetBody()))
		target = request.Mutable(field).Message().Interface()
	}
	if len(body) > 0 {
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, target); err != nil {
			return nil, nil, false
		}
	}
	for i, name := range names {
		field := method.Input().Fields().ByName(protoreflect.Name(name))
		var bits int
		switch field.Kind() {
		case protoreflect.Int64Kind:
			bits = 64
		case protoreflect.Int32Kind:
			bits = 32
		default:
			request.Set(field, protoreflect.ValueOfString(found[i]))
			continue
		}
		number, err := strconv.ParseInt(found[i], 10, bits)
		if err != nil {
			return nil, nil, false
		}
		if bits == 32 {
			request.Set(field, protoreflect.ValueOfInt32(int32(number)))
		} else {
			request.Set(field, protoreflect.ValueOfInt64(number))
		}
	}
	return method, request, true
}

func binding(rule *annotations.HttpRule) (verb, template string) {
	switch pattern := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, pattern.Get
	case *annotations.HttpRule_Post:
		return http.MethodPost, pattern.Post
	case *annotations.HttpRule_Put:
		return http.MethodPut, pattern.Put
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, pattern.Patch
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, pattern.Delete
	default:
		return "", ""
	}
}

// httpStatus is the status that REST callers see for an outcome.
func httpStatus(err error) int {
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			switch info.GetReason() {
			case "IDEMPOTENCY_KEY_REUSED":
				return http.StatusUnprocessableEntity
			case "IDEMPOTENCY_KEY_IN_FLIGHT":
				return http.StatusConflict
			}
		}
	}
	switch s.Code() {
	case codes.OK:
		return http.StatusOK
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.FailedPrecondition:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
