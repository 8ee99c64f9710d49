package e2e

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestWalls checks I7 for every RPC and every field by which something is
// named, as the contracts have them: a call with one instance's key that names
// another's is answered exactly as one that names what exists nowhere, shows
// nothing of the other, and changes nothing there.
func TestWalls(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		settings["retry-schedule"] = "100ms" // deliveries are dead, and nothing changes by itself, before the comparisons begin
		prosa := start(t, harness.Spec{Settings: settings})
		conn, err := grpc.NewClient(prosa.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		w := newWorld(t, conn)
		before := w.snapshot(t, w.theirs)

		methods := contractMethods()
		for _, method := range methods {
			t.Run(string(method.Parent().Name())+"/"+string(method.Name()), func(t *testing.T) {
				if method.Parent().FullName() == served {
					w.checkUnserved(t, method)
					return
				}
				switch access := accessOf(method); access {
				case accountsv1.Access_ACCESS_UNSPECIFIED:
					require.Fail(t, "the RPC does not say who may call it", "give %s the option (prosa.accounts.v1.access)", method.FullName())
				case accountsv1.Access_ACCESS_INTERNAL:
					w.checkInternal(t, method)
				case accountsv1.Access_ACCESS_OPEN:
					require.Contains(t, capabilities, method.FullName(), "an RPC that anyone may call: say in capabilities why it needs no wall")
				default:
					w.checkWalls(t, method)
				}
			})
		}
		t.Run("tokens of channels", w.checkTokens)
		require.Equal(t, before, w.snapshot(t, w.theirs), "the other instance is as it was")

		t.Run("calls that name one's own succeed", func(t *testing.T) {
			// What deletes comes last.
			slices.SortStableFunc(methods, func(a, b protoreflect.MethodDescriptor) int { return deletes(a) - deletes(b) })
			for _, method := range methods {
				if wallCalls[method.FullName()] != nil {
					w.checkOwn(t, method)
				}
			}
		})
		require.Equal(t, before, w.snapshot(t, w.theirs), "the other instance is as it was")
	})
}

// TestWallCallsAreOfTheContract finds entries of RPCs that are gone.
func TestWallCallsAreOfTheContract(t *testing.T) {
	known := map[protoreflect.FullName]bool{}
	for _, method := range contractMethods() {
		known[method.FullName()] = true
	}
	for name := range wallCalls {
		require.Contains(t, known, name)
	}
	for name := range capabilities {
		require.Contains(t, known, name)
	}
}

// checkTokens checks the wall of the surface whose channels carry their own
// tokens: neither a key nor another channel's token opens one.
func (w *world) checkTokens(t *testing.T) {
	request := &channelv1.ReceiveMessageRequest{ChannelId: w.theirs.channel, ClientIdentifier: sharedPerson, Type: "text", Text: "intruder"}
	method := methodNamed(t, "prosa.channel.v1.InboundService.ReceiveMessage")
	for name, credential := range map[string]string{
		"none": "", "a key": w.key, "the root key": harness.RootKey, "another's token": w.own.instance + inboundToken,
	} {
		require.Contains(t, w.call(t, credential, method, request), "INBOUND_TOKEN_INVALID", name)
	}
	method = methodNamed(t, "prosa.channel.v1.BotApiInboundService.ReceiveBotMessage")
	for name, credential := range map[string]string{
		"none": "", "a key": w.key, "the root key": harness.RootKey, "another's token": w.botToken,
	} {
		to := &channelv1.ReceiveBotMessageRequest{Slug: w.theirs.instance, Id: w.theirs.botAPI, Identifier: sharedPerson}
		require.Contains(t, w.call(t, credential, method, to), "BOT_API_TOKEN_INVALID", name)
		to.Slug = w.own.instance
		require.Contains(t, w.call(t, credential, method, to), "BOT_API_NOT_FOUND", name)
	}
}

// served is what Prosa calls and others serve.
const served = protoreflect.FullName("prosa.agent.v1.EngineService")

// checkUnserved checks that nobody can call an RPC here.
func (w *world) checkUnserved(t *testing.T, method protoreflect.MethodDescriptor) {
	got := w.call(t, harness.RootKey, method, newMessage(t, method.Input()))
	require.Contains(t, got, codes.Unimplemented.String())
}

// checkInternal checks that an RPC for Prosa's own services is refused on the
// network, whoever calls.
func (w *world) checkInternal(t *testing.T, method protoreflect.MethodDescriptor) {
	for name, key := range map[string]string{"no key": "", "an instance's key": w.key, "the root key": harness.RootKey} {
		got := w.call(t, key, method, newMessage(t, method.Input()))
		require.Contains(t, got, codes.PermissionDenied.String(), name)
		require.Contains(t, got, `"reason":"INTERNAL_ONLY"`, name)
	}
}

// checkWalls puts what another place has into each field by which something is
// named, one after the other, and then names the other place altogether.
func (w *world) checkWalls(t *testing.T, method protoreflect.MethodDescriptor) {
	requests := wallCalls[method.FullName()]
	require.NotNil(t, requests, "%s has no wall test: say in wallCalls how it is called in a place", method.FullName())
	own, theirs, none := requests(w.own), requests(w.theirs), requests(nowhere)
	fields := nameFields(t, method.Input())
	filled := map[string]bool{}
	for i := range own {
		for _, field := range fields {
			if !field.has(own[i]) {
				continue
			}
			filled[field.String()] = true
			require.False(t, field.value(theirs[i]).Equal(field.value(own[i])), "%s is the same in both places: nothing would be tested", field)
			foreign, missing := field.with(own[i], theirs[i]), field.with(own[i], none[i])
			w.compare(t, field.String(), method, foreign, missing)
		}
		w.compare(t, "all of another place", method, theirs[i], none[i])
	}
	for _, field := range fields {
		require.True(t, filled[field.String()], "%s of %s names something: fill it in wallCalls, so that its wall is tested", field, method.FullName())
	}
}

// compare checks that two requests with the own key are answered alike, and
// that the answer shows nothing of the other place.
func (w *world) compare(t *testing.T, what string, method protoreflect.MethodDescriptor, foreign, missing proto.Message) {
	t.Helper()
	gotForeign, gotMissing := w.call(t, w.key, method, foreign), w.call(t, w.key, method, missing)
	named := compactJSON(t, foreign)
	for _, mark := range w.marks {
		if !strings.Contains(named, mark) { // what the caller said may be said to them
			require.NotContains(t, gotForeign, mark, "%s: the answer shows what is another's", what)
		}
	}
	require.Equal(t, neutral(t, gotMissing, missing), neutral(t, gotForeign, foreign),
		"%s: naming another's is answered otherwise than naming nothing", what)
}

// checkOwn checks that a call in the own place succeeds, or is the root key's
// alone, and that no key and no secret is in its answer, except where it was
// made.
func (w *world) checkOwn(t *testing.T, method protoreflect.MethodDescriptor) {
	t.Helper()
	for _, request := range wallCalls[method.FullName()](w.own) {
		got := w.call(t, w.key, method, request)
		if accessOf(method) == accountsv1.Access_ACCESS_ROOT {
			require.Contains(t, got, `"reason":"SCOPE_MISSING"`, method.FullName())
			continue
		}
		require.True(t, strings.HasPrefix(got, answered), "%s: %s\n%s", method.FullName(), compactJSON(t, request), got)
		if name := string(method.Name()); !strings.HasPrefix(name, "Create") && !strings.HasPrefix(name, "Rotate") {
			require.NotRegexp(t, secretForms, got, "%s: only what makes a secret shows it", method.FullName())
		}
		switch request.(type) {
		case *contactsv1.QueryContactsRequest:
			require.Contains(t, got, `"identifier":"`, "the query finds something: %s", compactJSON(t, request))
		case *contactsv1.QueryEventsRequest:
			require.Contains(t, got, `"eventName":"`, "the query finds something: %s", compactJSON(t, request))
		}
	}
}

// usedToday is how often a key was used, and when it was last, which is noted by
// and by: a snapshot itself uses one of the place.
var usedToday = regexp.MustCompile(`"today":[0-9]+,|"lastUseTime":"[^"]*",`)

// snapshot is everything that the root key, and a key of the place, can read of
// it.
func (w *world) snapshot(t *testing.T, p place) []string {
	t.Helper()
	flags := &contactsv1.ContactFlags{History: true, Events: true}
	shared := sharedPerson
	var all []string
	for _, reading := range []struct {
		method  protoreflect.FullName
		request proto.Message
	}{
		{"prosa.contacts.v1.ContactsService.QueryContacts", &contactsv1.QueryContactsRequest{Instance: p.instance}},
		{"prosa.contacts.v1.ContactsService.QueryContacts", &contactsv1.QueryContactsRequest{
			Instance: p.instance, Filters: &contactsv1.ContactFilters{Identifier: &p.person}, Flags: flags,
		}},
		{"prosa.contacts.v1.ContactsService.QueryContacts", &contactsv1.QueryContactsRequest{
			Instance: p.instance, Filters: &contactsv1.ContactFilters{Identifier: &shared}, Flags: flags,
		}},
		{"prosa.contacts.v1.ContactsService.QueryEvents", &contactsv1.QueryEventsRequest{Instance: p.instance}},
	} {
		all = append(all, w.call(t, harness.RootKey, methodNamed(t, reading.method), reading.request))
	}
	p.pages = nil
	for _, method := range contractMethods() {
		name := string(method.Name())
		if calls := wallCalls[method.FullName()]; calls != nil && (strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List")) {
			for _, request := range calls(p) {
				request = proto.CloneOf(request)
				if size := method.Input().Fields().ByName("page_size"); size != nil {
					request.ProtoReflect().Set(size, protoreflect.ValueOfInt32(500))
				}
				key := harness.RootKey
				if accessOf(method) == accountsv1.Access_ACCESS_CONVERSATIONS {
					key = p.key
				}
				if name != "ListInstances" { // the other instances may change
					all = append(all, usedToday.ReplaceAllString(w.call(t, key, method, request), ""))
				}
			}
		}
	}
	for _, got := range all {
		require.True(t, strings.HasPrefix(got, answered), got)
	}
	return all
}

// contractMethods are the RPCs of all contracts that are linked in, by name.
func contractMethods() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "prosa.") {
			return true
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				all = append(all, methods.Get(j))
			}
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.MethodDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	return all
}

func methodNamed(t *testing.T, name protoreflect.FullName) protoreflect.MethodDescriptor {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	require.NoError(t, err)
	return found.(protoreflect.MethodDescriptor)
}

func accessOf(method protoreflect.MethodDescriptor) accountsv1.Access {
	return proto.GetExtension(method.Options(), accountsv1.E_Access).(accountsv1.Access)
}

func newMessage(t *testing.T, descriptor protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	require.NoError(t, err)
	return kind.New().Interface()
}

func deletes(method protoreflect.MethodDescriptor) int {
	if strings.HasPrefix(string(method.Name()), "Delete") {
		return 1
	}
	return 0
}

// callWithin bounds one call.
func callWithin(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), stepWithin)
	t.Cleanup(cancel)
	return ctx
}
