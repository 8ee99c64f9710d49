package auth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// TestEveryRPCSaysWhoMayCallIt walks the contract: no RPC without an access option, and none with a wall and nothing to hold
// against it.
func TestEveryRPCSaysWhoMayCallIt(t *testing.T) {
	seen := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "prosa.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				seen++
				access := AccessOf("/" + string(service.FullName()) + "/" + string(method.Name()))
				require.NotEqual(t, accountsv1.Access_ACCESS_UNSPECIFIED, access, method.FullName())
				if access == accountsv1.Access_ACCESS_MANAGE || access == accountsv1.Access_ACCESS_CONTACTS_READ {
					require.True(t, hasStringField(method.Input(), "instance") || hasStringField(method.Input(), "slug"), method.FullName())
				}
			}
		}
		return true
	})
	require.Greater(t, seen, 10)
}

func hasStringField(message protoreflect.MessageDescriptor, name protoreflect.Name) bool {
	field := message.Fields().ByName(name)
	return field != nil && field.Kind() == protoreflect.StringKind && !field.IsList()
}

func TestAccessOf(t *testing.T) {
	for method, want := range map[string]accountsv1.Access{
		accountsv1.AccountsService_CreateInstance_FullMethodName: accountsv1.Access_ACCESS_ROOT,
		accountsv1.AccountsService_GetInstance_FullMethodName:    accountsv1.Access_ACCESS_MANAGE,
		accountsv1.IdentityService_VerifyKey_FullMethodName:      accountsv1.Access_ACCESS_INTERNAL,
		"/prosa.contacts.v1.ContactsService/QueryContacts":       accountsv1.Access_ACCESS_CONTACTS_READ,
		"/prosa.channel.v1.InboundService/ReceiveMessage":        accountsv1.Access_ACCESS_OPEN,
		"/grpc.health.v1.Health/Check":                           accountsv1.Access_ACCESS_UNSPECIFIED,
		"/prosa.accounts.v1.AccountsService/Missing":             accountsv1.Access_ACCESS_UNSPECIFIED,
		"/prosa.accounts.v1.Missing/GetInstance":                 accountsv1.Access_ACCESS_UNSPECIFIED,
		"/prosa.accounts.v1.Instance/slug":                       accountsv1.Access_ACCESS_UNSPECIFIED,
		"":                                                       accountsv1.Access_ACCESS_UNSPECIFIED,
		"/":                                                      accountsv1.Access_ACCESS_UNSPECIFIED,
	} {
		require.Equal(t, want, AccessOf(method), method)
		require.Equal(t, want, AccessOf(method), "remembered: %s", method)
	}
}

func TestInstanceOf(t *testing.T) {
	for name, test := range map[string]struct {
		request any
		want    string
	}{
		"instance":                 {&accountsv1.GetInstanceRequest{Instance: "acme"}, "acme"},
		"slug beside a message":    {&accountsv1.UpdateInstanceRequest{Slug: "acme", Instance: &accountsv1.Instance{Slug: "other"}}, "acme"},
		"a message is no instance": {&accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "acme"}}, ""},
		"neither":                  {&accountsv1.VerifyKeyRequest{Key: "k"}, ""},
		"no message":               {"acme", ""},
		"nothing":                  {nil, ""},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, instanceOf(test.request)) })
	}
}
