package validate_test

import (
	"strings"
	"testing"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	_ "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func goodMessage() *channelv1.ReceiveMessageRequest {
	return &channelv1.ReceiveMessageRequest{
		ChannelId: "5f1b0c8e9d3a4b2c1d0e9f8a", ClientIdentifier: "5511999990000", Type: "text",
		Text: strings.Repeat("Olá, tudo bem? ", 10), Postback: "section1-index2",
	}
}

func TestRequest(t *testing.T) {
	tests := map[string]struct {
		request proto.Message
		fields  []string
	}{
		"good":           {request: goodMessage()},
		"no rules":       {request: &accountsv1.DeleteApiKeyResponse{}},
		"limit reached":  {request: withText(10_000)},
		"one past limit": {request: withText(10_001), fields: []string{"text"}},
		"all at once": {
			request: &channelv1.ReceiveMessageRequest{Postback: "x"},
			fields:  []string{"channelId", "clientIdentifier", "type", "text", "postback"},
		},
		"nested, camel case": {
			request: &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{
				StartDate: proto.String("2020-06-01T"), AssistantId: proto.Int64(0), Limit: proto.Int32(501),
			}},
			fields: []string{"filters.startDate", "filters.assistantId", "filters.limit"},
		},
		"documented spelling": {
			request: &contactsv1.QueryContactsRequest{Instance: "acme", Attributes: &contactsv1.ContactAttributes{
				IdentificationNumber: proto.String(""),
			}},
			fields: []string{"attributes.identification_number"},
		},
		"list item": {
			request: &accountsv1.CreateApiKeyRequest{Instance: "acme", ApiKey: &accountsv1.ApiKey{Scopes: []string{"manage", "all"}}},
			fields:  []string{"apiKey.scopes[1]"},
		},
		"required message": {request: &accountsv1.CreateApiKeyRequest{Instance: "acme"}, fields: []string{"apiKey"}},
		"message field": {
			request: &accountsv1.UpdateInstanceRequest{Slug: "acme", Instance: &accountsv1.Instance{InactivityTimeout: durationpb.New(1)}},
			fields:  []string{"instance.inactivityTimeout"},
		},
		"oneof in a list of lists": {
			request: &messagev1.Message{Content: &messagev1.Message_List{List: &messagev1.List{
				Text: "?", Sections: []*messagev1.Section{{Items: []*messagev1.Option{{Label: "a", Value: "index0"}, {Label: "", Value: "index1"}}}},
			}}},
			fields: []string{"list.sections[0].items[1].label"},
		},
		"oneof itself": {request: &messagev1.Message{}, fields: []string{"content"}},
		"rule of a request about one of its fields": {
			request: &channelv1.ListDeliveriesRequest{Instance: "acme", StartTime: &timestamppb.Timestamp{Seconds: 2}, EndTime: &timestamppb.Timestamp{Seconds: 1}},
			fields:  []string{"endTime"},
		},
		"rules of a field about what is in it": {
			request: &channelv1.CreateChannelRequest{Instance: "acme", Channel: &channelv1.Channel{}},
			fields:  []string{"channel.agentId", "channel.webhookUrl"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := validate.Request(test.request)
			if len(test.fields) == 0 {
				require.NoError(t, err)
				return
			}
			require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err))
			var known *rpcerr.Error
			require.ErrorAs(t, err, &known)
			require.Equal(t, codes.InvalidArgument, known.Code())
			var fields []string
			for _, v := range rpcerr.Violations(known.GRPCStatus()) {
				require.NotEmpty(t, v.Reason)
				if len(fields) == 0 || fields[len(fields)-1] != v.Field {
					fields = append(fields, v.Field)
				}
			}
			require.ElementsMatch(t, test.fields, fields)
		})
	}
}

func TestRequestNeverRepeatsAValue(t *testing.T) {
	const secret = "Maria-12345678909"
	err := validate.Request(&channelv1.ReceiveMessageRequest{ChannelId: secret, Type: secret, Text: secret + "\x00", ClientIdentifier: secret + "\x00", Postback: secret})
	var known *rpcerr.Error
	require.ErrorAs(t, err, &known)
	require.NotContains(t, known.GRPCStatus().Proto().String(), secret)
	require.NotContains(t, err.Error(), secret)
}

func TestRequestListsAHundredViolationsAtMost(t *testing.T) {
	request := &messagev1.Message{Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{Text: "?"}}}
	for range 60 {
		request.GetButtons().Options = append(request.GetButtons().Options, &messagev1.Option{})
	}
	var known *rpcerr.Error
	require.ErrorAs(t, validate.Request(request), &known)
	require.Len(t, rpcerr.Violations(known.GRPCStatus()), 100)
}

func TestRequestPassesWhatIsNoMessage(t *testing.T) {
	require.NoError(t, validate.Request("text"))
	require.NoError(t, validate.Request(nil))
}

// TestEveryRuleOfTheContractCompiles looks at every message there is: a rule that is wrong is an internal error and no violation.
func TestEveryRuleOfTheContractCompiles(t *testing.T) {
	seen := 0
	protoregistry.GlobalTypes.RangeMessages(func(message protoreflect.MessageType) bool {
		if strings.HasPrefix(string(message.Descriptor().FullName()), "prosa.") {
			seen++
			if err := validate.Request(message.New().Interface()); err != nil {
				require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err), message.Descriptor().FullName())
			}
		}
		return true
	})
	require.Greater(t, seen, 20)
}

func TestWarm(t *testing.T) {
	for _, service := range []string{"prosa.channel.v1.InboundService", "prosa.channel.v1.Missing", "prosa.accounts.v1.Instance", ""} {
		require.NotPanics(t, func() { validate.Warm(service) })
	}
}

func TestField(t *testing.T) {
	field := func(descriptor protoreflect.MessageDescriptor, path *validatepb.FieldPath) string {
		return validate.Field(descriptor, &validatepb.Violation{Field: path, RuleId: proto.String("string.min_len")})
	}
	name := func(name string, number int32) *validatepb.FieldPathElement {
		return &validatepb.FieldPathElement{FieldName: proto.String(name), FieldNumber: proto.Int32(number)}
	}
	fields := name("fields", 1) // of google.protobuf.Struct, a map of Values
	for want, subscript := range map[string]func(*validatepb.FieldPathElement){
		`fields["a\"b"].stringValue`: func(e *validatepb.FieldPathElement) {
			e.Subscript = &validatepb.FieldPathElement_StringKey{StringKey: `a"b`}
		},
		`fields[-1].stringValue`: func(e *validatepb.FieldPathElement) { e.Subscript = &validatepb.FieldPathElement_IntKey{IntKey: -1} },
		`fields[1].stringValue`:  func(e *validatepb.FieldPathElement) { e.Subscript = &validatepb.FieldPathElement_UintKey{UintKey: 1} },
		`fields[true].stringValue`: func(e *validatepb.FieldPathElement) {
			e.Subscript = &validatepb.FieldPathElement_BoolKey{BoolKey: true}
		},
		`fields[2].stringValue`: func(e *validatepb.FieldPathElement) { e.Subscript = &validatepb.FieldPathElement_Index{Index: 2} },
	} {
		subscript(fields)
		path := &validatepb.FieldPath{Elements: []*validatepb.FieldPathElement{fields, name("string_value", 3)}}
		require.Equal(t, want, field((&structpb.Struct{}).ProtoReflect().Descriptor(), path))
	}
	unknown := &validatepb.FieldPath{Elements: []*validatepb.FieldPathElement{name("no_such", 99), name("string_value", 3)}}
	require.Equal(t, "no_such.string_value", field((&structpb.Struct{}).ProtoReflect().Descriptor(), unknown))
	require.Empty(t, field((&structpb.Struct{}).ProtoReflect().Descriptor(), nil))
}

func withText(length int) proto.Message {
	m := goodMessage()
	m.Text = strings.Repeat("é", length)
	return m
}

func BenchmarkReceiveMessage(b *testing.B) {
	for name, change := range map[string]func(m *channelv1.ReceiveMessageRequest){
		"with postback":    func(*channelv1.ReceiveMessageRequest) {},
		"without postback": func(m *channelv1.ReceiveMessageRequest) { m.Postback = "" },
		"10000 characters": func(m *channelv1.ReceiveMessageRequest) { m.Text = strings.Repeat("a", 10_000) },
		"five bad fields":  func(m *channelv1.ReceiveMessageRequest) { proto.Reset(m) },
	} {
		b.Run(name, func(b *testing.B) {
			m := goodMessage()
			change(m)
			b.ReportAllocs()
			for b.Loop() {
				_ = validate.Request(m)
			}
		})
	}
}

func BenchmarkNoRules(b *testing.B) {
	m := &accountsv1.DeleteApiKeyResponse{}
	b.ReportAllocs()
	for b.Loop() {
		_ = validate.Request(m)
	}
}
