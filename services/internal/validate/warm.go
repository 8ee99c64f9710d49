package validate

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Warm compiles the rules of every request of a service ("prosa.channel.v1.InboundService"), so that the first caller does not
// wait for it: the very first compilation takes some 30 ms, each further message about one. A service that the contract does not
// know is passed over. Rules that do not compile show at the first request, and in the tests of this package.
func Warm(service string) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return
	}
	descriptor, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return
	}
	for i := range descriptor.Methods().Len() {
		input := descriptor.Methods().Get(i).Input().FullName()
		if message, err := protoregistry.GlobalTypes.FindMessageByName(input); err == nil {
			// The verdict on an empty request does not matter; coming to it compiles the rules.
			_ = Request(message.New().Interface())
		}
	}
}
