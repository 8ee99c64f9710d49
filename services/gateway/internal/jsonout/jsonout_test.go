package jsonout

import (
	"math"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// protojson is the oracle: the same JSON, apart from its random spaces.
func TestAppendIsProtojsonWithoutTheSpaces(t *testing.T) {
	definition, err := structpb.NewValue(map[string]any{"b": []any{1, 2.5, nil, true, "x\n"}, "a": map[string]any{}})
	require.NoError(t, err)
	for _, m := range []proto.Message{
		&channelv1.Channel{},
		&channelv1.Channel{DisplayName: "é\"\\\u2028</a>", Timeout: durationpb.New(1_500_000_000), State: channelv1.Channel_PAUSED, CreateTime: timestamppb.New(timestamppb.Now().AsTime()), Acknowledgement: 99},
		&accountsv1.ApiKey{Scopes: []string{"a", "b"}},
		&accountsv1.ListInstancesResponse{Instances: []*accountsv1.Instance{{}, {Slug: "a"}}},
		&agentv1.Agent{AssistantId: math.MaxInt64, Version: -1, Definition: definition},
		&agentv1.Agent{Definition: structpb.NewStringValue("a: b\n")},
		&agentv1.Model{Temperature: proto.Float64(0.1), HistoryTurns: proto.Int32(0)},
		&contactsv1.QueryContactsResponse{Contacts: []*contactsv1.Attendance{{Attributes: map[string]string{"b": "1", "a": "2", "": "3"}, ExternalId: proto.String("")}}},
		&channelv1.UpdateChannelRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}}},
	} {
		got, err := new(Writer).Append(nil, m.ProtoReflect())
		require.NoError(t, err)
		oracle, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
		require.NoError(t, err)
		want := jsontext.Value(oracle)
		require.NoError(t, want.Compact())
		require.Equal(t, want.String(), string(got))
	}
}

func TestAppendOmitsEmptySecrets(t *testing.T) {
	w := Writer{OmitEmpty: map[protoreflect.FullName]bool{"prosa.accounts.v1.ApiKey.key": true}}
	got, err := w.Append(nil, (&accountsv1.ApiKey{}).ProtoReflect())
	require.NoError(t, err)
	require.Equal(t, `{"id":"","displayName":"","scopes":[],"prefix":""}`, string(got))
	got, err = w.Append([]byte("x"), (&accountsv1.ApiKey{Key: "psk"}).ProtoReflect())
	require.NoError(t, err)
	require.Equal(t, `x{"id":"","displayName":"","scopes":[],"prefix":"","key":"psk"}`, string(got))
}

func TestAppendRefusesWhatHasNoJSON(t *testing.T) {
	_, err := new(Writer).Append(nil, (&accountsv1.Instance{CreateTime: &timestamppb.Timestamp{Seconds: math.MaxInt64}}).ProtoReflect())
	require.ErrorContains(t, err, "write prosa.accounts.v1.Instance.create_time")
}
