package auth

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
)

// accessOf remembers what AccessOf found. Only methods that are registered on a server are asked about, so it is bounded.
var accessOf sync.Map // full method → accountsv1.Access

// AccessOf is who may call the method ("/package.Service/Method"), as its access option in the linked-in contract says.
// ACCESS_UNSPECIFIED, which nobody satisfies, for methods without the option and for unknown ones.
func AccessOf(fullMethod string) accountsv1.Access {
	if access, ok := accessOf.Load(fullMethod); ok {
		return access.(accountsv1.Access)
	}
	access := readAccess(fullMethod)
	accessOf.Store(fullMethod, access)
	return access
}

func readAccess(fullMethod string) accountsv1.Access {
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok {
		return accountsv1.Access_ACCESS_UNSPECIFIED
	}
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return accountsv1.Access_ACCESS_UNSPECIFIED
	}
	serviceDescriptor, ok := descriptor.(protoreflect.ServiceDescriptor)
	if !ok {
		return accountsv1.Access_ACCESS_UNSPECIFIED
	}
	methodDescriptor := serviceDescriptor.Methods().ByName(protoreflect.Name(method))
	if methodDescriptor == nil {
		return accountsv1.Access_ACCESS_UNSPECIFIED
	}
	return proto.GetExtension(methodDescriptor.Options(), accountsv1.E_Access).(accountsv1.Access)
}

// instanceOf is the instance that a request names: its string field `instance`, else its string field `slug`, else nothing.
func instanceOf(request any) string {
	message, ok := request.(proto.Message)
	if !ok {
		return ""
	}
	reflected := message.ProtoReflect()
	fields := reflected.Descriptor().Fields()
	for _, name := range [...]protoreflect.Name{"instance", "slug"} {
		field := fields.ByName(name)
		if field != nil && field.Kind() == protoreflect.StringKind && field.Cardinality() != protoreflect.Repeated {
			return reflected.Get(field).String()
		}
	}
	return ""
}
