package auth

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const keyID = "5f1b0c8e9d3a4b2c1d0e9f8a"

// keyring is a verifier that counts how often it is asked.
type keyring struct {
	keys  map[string]Principal
	asked int
}

func (k *keyring) Verify(_ context.Context, key string) (Principal, error) {
	k.asked++
	if p, ok := k.keys[key]; ok {
		return p, nil
	}
	return Principal{}, errKeyInvalid
}

const rootKey = "root-key-of-thirty-two-characters-and-more"

func newKeyring() (k *keyring, manage, contacts, conversations string) {
	manage, contacts, conversations = apikey.Generate(keyID, nil).Reveal(), apikey.Generate(keyID, nil).Reveal(), apikey.Generate(keyID, nil).Reveal()
	return &keyring{keys: map[string]Principal{
		rootKey:       {Root: true},
		manage:        {Instance: "acme", KeyID: keyID, Scopes: []string{ScopeManage}},
		contacts:      {Instance: "acme", KeyID: keyID, Scopes: []string{ScopeContactsRead}},
		conversations: {Instance: "acme", KeyID: keyID, Scopes: []string{ScopeConversations}},
	}}, manage, contacts, conversations
}

func calling(pairs ...string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(pairs...))
}

func TestIdentify(t *testing.T) {
	ring, manage, contacts, conversations := newKeyring()
	bearer := func(key string) context.Context { return calling("authorization", "Bearer "+key) }
	const (
		ok      = ""
		noScope = "SCOPE_MISSING"
	)
	reasons := map[string]codes.Code{
		"CREDENTIALS_MISSING": codes.Unauthenticated, "CREDENTIALS_MALFORMED": codes.Unauthenticated, "API_KEY_INVALID": codes.Unauthenticated,
		noScope: codes.PermissionDenied, "INTERNAL_ONLY": codes.PermissionDenied,
	}
	tests := []struct {
		name     string
		ctx      context.Context
		access   accountsv1.Access
		internal bool
		want     string
	}{
		{"open needs nothing", calling(), accountsv1.Access_ACCESS_OPEN, false, ok},
		{"open does not look at a token", bearer("anything"), accountsv1.Access_ACCESS_OPEN, false, ok},
		{"no option", bearer(rootKey), accountsv1.Access_ACCESS_UNSPECIFIED, false, "INTERNAL_ONLY"},
		{"no option, from inside", bearer(rootKey), accountsv1.Access_ACCESS_UNSPECIFIED, true, "INTERNAL_ONLY"},
		{"unknown option", bearer(rootKey), accountsv1.Access(99), true, "INTERNAL_ONLY"},
		{"internal from inside", calling(), accountsv1.Access_ACCESS_INTERNAL, true, ok},
		{"internal from outside", calling(), accountsv1.Access_ACCESS_INTERNAL, false, "INTERNAL_ONLY"},
		{"internal with the root key", bearer(rootKey), accountsv1.Access_ACCESS_INTERNAL, false, "INTERNAL_ONLY"},
		{"root", bearer(rootKey), accountsv1.Access_ACCESS_ROOT, false, ok},
		{"root with a manage key", bearer(manage), accountsv1.Access_ACCESS_ROOT, false, noScope},
		{"root from inside without a key", calling(), accountsv1.Access_ACCESS_ROOT, true, "CREDENTIALS_MISSING"},
		{"manage", bearer(manage), accountsv1.Access_ACCESS_MANAGE, false, ok},
		{"manage by root", bearer(rootKey), accountsv1.Access_ACCESS_MANAGE, false, ok},
		{"manage by x-api-key", calling("x-api-key", manage), accountsv1.Access_ACCESS_MANAGE, false, ok},
		{"manage with another scope", bearer(contacts), accountsv1.Access_ACCESS_MANAGE, false, noScope},
		{"manage from inside without a key", calling(), accountsv1.Access_ACCESS_MANAGE, true, "CREDENTIALS_MISSING"},
		{"contacts", calling("x-api-key", contacts), accountsv1.Access_ACCESS_CONTACTS_READ, false, ok},
		{"contacts by bearer", bearer(contacts), accountsv1.Access_ACCESS_CONTACTS_READ, false, ok},
		{"contacts by root", calling("x-api-key", rootKey), accountsv1.Access_ACCESS_CONTACTS_READ, false, ok},
		{"contacts with another scope", bearer(conversations), accountsv1.Access_ACCESS_CONTACTS_READ, false, noScope},
		{"contacts, a proxy's authorization", calling("authorization", "Basic eDp5", "x-api-key", contacts), accountsv1.Access_ACCESS_CONTACTS_READ, false, ok},
		{"conversations", bearer(conversations), accountsv1.Access_ACCESS_CONVERSATIONS, false, ok},
		{"conversations by root", bearer(rootKey), accountsv1.Access_ACCESS_CONVERSATIONS, false, noScope},
		{"conversations with another scope", bearer(manage), accountsv1.Access_ACCESS_CONVERSATIONS, false, noScope},
		{"nothing", calling(), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MISSING"},
		{"no metadata", context.Background(), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MISSING"},
		{"blank authorization", calling("authorization", " "), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MISSING"},
		{"blank x-api-key", calling("x-api-key", " "), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MISSING"},
		{"no scheme", calling("authorization", manage), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MALFORMED"},
		{"another scheme", calling("authorization", "Basic "+manage), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MALFORMED"},
		{"scheme without token", calling("authorization", "Bearer "), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MALFORMED"},
		{"two authorizations", calling("authorization", "Bearer "+manage, "authorization", "Bearer "+manage), accountsv1.Access_ACCESS_MANAGE, false, "CREDENTIALS_MALFORMED"},
		{"two x-api-keys", calling("x-api-key", manage, "x-api-key", manage), accountsv1.Access_ACCESS_MANAGE, false, "API_KEY_INVALID"},
		{"scheme in lower case, spaces", calling("authorization", " bearer  "+manage+" "), accountsv1.Access_ACCESS_MANAGE, false, ok},
		{"unknown key", bearer(apikey.Generate(keyID, nil).Reveal()), accountsv1.Access_ACCESS_MANAGE, false, "API_KEY_INVALID"},
		{"wrong root key", bearer("not the root key but just as long as it"), accountsv1.Access_ACCESS_ROOT, false, "API_KEY_INVALID"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			principal, err := Identify(test.ctx, ring, test.access, test.internal)
			if test.want == ok {
				require.NoError(t, err)
				require.Equal(t, test.internal, principal.Internal)
				return
			}
			require.Equal(t, test.want, rpcerr.Reason(err))
			require.Equal(t, reasons[test.want], status.Code(err))
			require.Zero(t, principal)
		})
	}
}

func TestScopeMissingNamesTheScope(t *testing.T) {
	ring, manage, _, _ := newKeyring()
	for access, scope := range map[accountsv1.Access]string{
		accountsv1.Access_ACCESS_ROOT: "root", accountsv1.Access_ACCESS_CONTACTS_READ: "contacts.read", accountsv1.Access_ACCESS_CONVERSATIONS: "conversations",
	} {
		_, err := Identify(calling("x-api-key", manage), ring, access, false)
		require.Equal(t, map[string]string{"scope": scope}, rpcerr.Metadata(status.Convert(err)))
	}
}

// TestKeysThatCannotBeRightAreNotVerified is the promise that guesses do not reach a store.
func TestKeysThatCannotBeRightAreNotVerified(t *testing.T) {
	ring, manage, _, _ := newKeyring()
	last := byte('0')
	if manage[len(manage)-1] == last {
		last = '1'
	}
	long := make([]byte, maxKeyLength+1)
	for i := range long {
		long[i] = 'k'
	}
	for name, key := range map[string]string{
		"wrong checksum": manage[:len(manage)-1] + string(last), "cut": manage[:len(manage)-1], "prefix alone": "psk_", "too long": string(long),
		"control character": "root\x01key",
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				_, err := Identify(calling("x-api-key", key), ring, accountsv1.Access_ACCESS_MANAGE, false)
				require.Equal(t, "API_KEY_INVALID", rpcerr.Reason(err))
			}
			require.Zero(t, ring.asked)
		})
	}
	_, err := Identify(calling("x-api-key", string(long[:maxKeyLength])), ring, accountsv1.Access_ACCESS_MANAGE, false)
	require.Equal(t, "API_KEY_INVALID", rpcerr.Reason(err))
	require.Equal(t, 1, ring.asked, "the longest that the contract allows is asked about")
}

func TestVerifierCannotMakeAService(t *testing.T) {
	ring := &keyring{keys: map[string]Principal{"k": {Instance: "acme", Scopes: []string{ScopeManage}, Internal: true}}}
	principal, err := Identify(calling("x-api-key", "k"), ring, accountsv1.Access_ACCESS_MANAGE, false)
	require.NoError(t, err)
	require.False(t, principal.Internal)
}

func TestAdmit(t *testing.T) {
	acme, root := Principal{Instance: "acme"}, Principal{Root: true}
	tests := []struct {
		name      string
		principal Principal
		access    accountsv1.Access
		request   any
		want      string
	}{
		{"own instance", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{Instance: "acme"}, ""},
		{"own instance by slug", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.UpdateInstanceRequest{Slug: "acme"}, ""},
		{"another", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{Instance: "other"}, "INSTANCE_NOT_FOUND"},
		{"another in other case", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{Instance: "ACME"}, "INSTANCE_NOT_FOUND"},
		{"another by slug", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.UpdateInstanceRequest{Slug: "other"}, "INSTANCE_NOT_FOUND"},
		{"none", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{}, "INSTANCE_NOT_FOUND"},
		{"request without one", acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.VerifyKeyRequest{}, "INSTANCE_NOT_FOUND"},
		{"nobody's key, no instance", Principal{}, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{}, "INSTANCE_NOT_FOUND"},
		{"root", root, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{Instance: "other"}, ""},
		{"contacts, own", acme, accountsv1.Access_ACCESS_CONTACTS_READ, &contactsv1.QueryContactsRequest{Instance: "acme"}, ""},
		{"contacts, another", acme, accountsv1.Access_ACCESS_CONTACTS_READ, &contactsv1.QueryContactsRequest{Instance: "other"}, "API_KEY_INVALID"},
		{"contacts, none", acme, accountsv1.Access_ACCESS_CONTACTS_READ, &contactsv1.QueryContactsRequest{}, "API_KEY_INVALID"},
		{"contacts, root", root, accountsv1.Access_ACCESS_CONTACTS_READ, &contactsv1.QueryContactsRequest{Instance: "other"}, ""},
		{"open has no wall", Principal{}, accountsv1.Access_ACCESS_OPEN, &accountsv1.GetInstanceRequest{Instance: "other"}, ""},
		{"internal has no wall", Principal{Internal: true}, accountsv1.Access_ACCESS_INTERNAL, &accountsv1.LookupInstanceRequest{Instance: "other"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, rpcerr.Reason(Admit(test.principal, test.access, test.request)))
		})
	}
}

func TestTheWallLooksTheSameForEveryName(t *testing.T) {
	acme := Principal{Instance: "acme"}
	for _, name := range []string{"other", "missing"} {
		err := Admit(acme, accountsv1.Access_ACCESS_MANAGE, &accountsv1.GetInstanceRequest{Instance: name})
		require.Equal(t, codes.NotFound, status.Code(err))
		require.Equal(t, map[string]string{"instance": name}, rpcerr.Metadata(status.Convert(err)))
	}
}

func TestBearerToken(t *testing.T) {
	require.Equal(t, "t", BearerToken(calling("authorization", "Bearer t")))
	require.Equal(t, "t", BearerToken(calling("authorization", "BEARER t ")))
	require.Empty(t, BearerToken(calling("authorization", "Basic t")))
	require.Empty(t, BearerToken(calling("authorization", "Bearer a", "authorization", "Bearer b")))
	require.Empty(t, BearerToken(calling("x-api-key", "t")))
	require.Empty(t, BearerToken(context.Background()))
}

func TestPrincipalInContext(t *testing.T) {
	require.Zero(t, FromContext(context.Background()))
	p := Principal{Instance: "acme", KeyID: keyID, Scopes: []string{ScopeManage}}
	require.Equal(t, p, FromContext(WithPrincipal(context.Background(), p)))
	require.True(t, p.Has(ScopeManage))
	require.False(t, p.Has(ScopeContactsRead))
	require.True(t, Principal{Root: true}.Has(ScopeContactsRead))
}
