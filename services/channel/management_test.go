package channel_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

func createRequest(change ...func(*channelv1.Channel)) *channelv1.CreateChannelRequest {
	c := &channelv1.Channel{DisplayName: "Canal", AgentId: agentID, WebhookUrl: "https://example.com/hook"}
	for _, f := range change {
		f(c)
	}
	return &channelv1.CreateChannelRequest{Instance: "acme", Channel: c}
}

func TestCreateChannelShowsTheSecretOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		made, err := r.channels.CreateChannel(t.Context(), createRequest())
		require.NoError(t, err)
		c := made.GetChannel()
		require.Len(t, c.GetId(), 24)
		require.True(t, strings.HasPrefix(c.GetSigningSecret(), "whsec_"))
		require.Equal(t, 15*time.Second, c.GetTimeout().AsDuration())
		require.Equal(t, channelv1.Channel_STATUS_OK, c.GetAcknowledgement())
		require.Equal(t, channelv1.Channel_ACTIVE, c.GetState())
		require.Equal(t, c.GetCreateTime().AsTime(), c.GetUpdateTime().AsTime())

		got, err := r.channels.GetChannel(t.Context(), &channelv1.GetChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		require.Empty(t, got.GetChannel().GetSigningSecret())
		secret := c.GetSigningSecret()
		c.SigningSecret = ""
		c.CreateTime, c.UpdateTime = got.GetChannel().GetCreateTime(), got.GetChannel().GetUpdateTime() // stored to the microsecond
		require.True(t, proto.Equal(c, got.GetChannel()))

		stored, err := r.store.Channel(t.Context(), "acme", c.GetId())
		require.NoError(t, err)
		require.False(t, bytes.Contains(stored.Secret, []byte(secret)))
	})
}

func TestCreateChannelRefusals(t *testing.T) {
	r := newRig(t, onSQLite(t))
	for name, test := range map[string]struct {
		request *channelv1.CreateChannelRequest
		code    codes.Code
		reason  string
		fields  []string
	}{
		"no such instance": {
			&channelv1.CreateChannelRequest{Instance: "nobody", Channel: createRequest().GetChannel()}, codes.NotFound, "INSTANCE_NOT_FOUND", nil,
		},
		"no such agent": {
			createRequest(func(c *channelv1.Channel) { c.AgentId = "64a1b2c3d4e5f6a7b8c9d0ab" }), codes.NotFound, "AGENT_NOT_FOUND", nil,
		},
		"inner address": {
			createRequest(func(c *channelv1.Channel) { c.WebhookUrl = "https://10.0.0.1/" }), codes.InvalidArgument, "WEBHOOK_URL_REFUSED", []string{"channel.webhookUrl"},
		},
		"user info": {
			createRequest(func(c *channelv1.Channel) { c.WebhookUrl = "https://a:b@example.com/" }), codes.InvalidArgument, "WEBHOOK_URL_REFUSED", []string{"channel.webhookUrl"},
		},
		"no scheme": {
			createRequest(func(c *channelv1.Channel) { c.WebhookUrl = "example.com" }), codes.InvalidArgument, "WEBHOOK_URL_REFUSED", []string{"channel.webhookUrl"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.channels.CreateChannel(t.Context(), test.request)
			requireError(t, err, test.code, test.reason)
			require.Equal(t, test.fields, fields(err))
		})
	}
	r.agent.lookup = func(*agentv1.LookupAgentRequest) error { return status.Error(codes.Unavailable, "away") }
	_, err := r.channels.CreateChannel(t.Context(), createRequest())
	requireError(t, err, codes.Unavailable, "UNAVAILABLE")
	list, err := r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "acme"})
	require.NoError(t, err)
	require.Empty(t, list.GetChannels())
}

func TestCreateChannelWithAKeyTakesEffectOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		ctx := keyed("idempotency-key", "k1")
		answers := make([]*channelv1.CreateChannelResponse, 10)
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() {
				answer, err := r.channels.CreateChannel(ctx, createRequest())
				if err != nil {
					t.Error(err)
				}
				answers[i] = answer
			})
		}
		group.Wait()
		for _, answer := range answers {
			require.True(t, proto.Equal(answers[0], answer), "the secret included")
		}
		require.NotEmpty(t, answers[0].GetChannel().GetSigningSecret())
		_, err := r.channels.CreateChannel(ctx, createRequest(func(c *channelv1.Channel) { c.Test = true }))
		requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")

		// What became of the agent since changes nothing.
		r.agent.lookup = func(*agentv1.LookupAgentRequest) error { return status.Error(codes.Unavailable, "away") }
		again, err := r.channels.CreateChannel(ctx, createRequest())
		require.NoError(t, err)
		require.True(t, proto.Equal(answers[0], again))

		var response []byte
		require.NoError(t, db.Reader().QueryRowContext(t.Context(), `SELECT response FROM idempotency WHERE scope = 'CreateChannel'`).Scan(&response))
		require.False(t, bytes.Contains(response, []byte("whsec_")), "sealed at rest")
	})
}

func TestListChannelsIsStableWhileOthersAreMade(t *testing.T) {
	r := newRig(t, onSQLite(t))
	var want []string
	for range 7 {
		want = append(want, r.create().GetId())
	}
	var got []string
	token := ""
	for {
		page, err := r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "acme", PageSize: 3, PageToken: token})
		require.NoError(t, err)
		for _, c := range page.GetChannels() {
			require.Empty(t, c.GetSigningSecret())
			got = append(got, c.GetId())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
		if len(got) == 3 {
			want = append(want, r.create().GetId())
		}
	}
	require.Equal(t, want, got)

	page, err := r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "acme", PageSize: 1})
	require.NoError(t, err)
	for name, request := range map[string]*channelv1.ListChannelsRequest{
		"forged":              {Instance: "acme", PageToken: "AAAA"},
		"cut":                 {Instance: "acme", PageToken: page.GetNextPageToken()[1:]},
		"of another instance": {Instance: "other", PageToken: page.GetNextPageToken()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.channels.ListChannels(t.Context(), request)
			requireError(t, err, codes.InvalidArgument, "REQUEST_INVALID")
			require.Equal(t, []string{"pageToken"}, fields(err))
		})
	}
	_, err = r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "nobody"})
	requireError(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
}

func TestListChannelsHasFiftyUnlessAsked(t *testing.T) {
	r := newRig(t, onSQLite(t))
	for i := range 51 {
		r.create(func(c *channelv1.Channel) { c.DisplayName = fmt.Sprint(i) })
	}
	page, err := r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "acme"})
	require.NoError(t, err)
	require.Len(t, page.GetChannels(), 50)
	require.NotEmpty(t, page.GetNextPageToken())
	page, err = r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "acme", PageSize: 51})
	require.NoError(t, err)
	require.Len(t, page.GetChannels(), 51)
	require.Empty(t, page.GetNextPageToken())
}

func TestUpdateChannel(t *testing.T) {
	r := newRig(t, onSQLite(t))
	all := &channelv1.Channel{
		DisplayName: "novo", AgentId: agentID, WebhookUrl: "https://example.com/2", InboundToken: "um-token-de-entrada",
		Acknowledgement: channelv1.Channel_ANY_2XX, Timeout: durationpb.New(2 * time.Second),
	}
	for name, test := range map[string]struct {
		mask   *fieldmaskpb.FieldMask
		values *channelv1.Channel
		want   func(*channelv1.Channel)
		fields []string
		reason string
	}{
		"one field": {mask("display_name"), all, func(c *channelv1.Channel) { c.DisplayName = "novo" }, nil, ""},
		"no mask changes what is set": {
			nil, &channelv1.Channel{WebhookUrl: "https://example.com/2", Id: "ignored"}, func(c *channelv1.Channel) { c.WebhookUrl = "https://example.com/2" }, nil, "",
		},
		"named and empty is emptied, or the default": {
			mask("display_name", "timeout", "acknowledgement", "inbound_token"), &channelv1.Channel{},
			func(c *channelv1.Channel) { c.DisplayName = "" }, nil, "",
		},
		"everything": {mask("*"), all, func(c *channelv1.Channel) {
			c.DisplayName, c.WebhookUrl, c.InboundTokenSet = "novo", "https://example.com/2", true
			c.Acknowledgement, c.Timeout = channelv1.Channel_ANY_2XX, durationpb.New(2*time.Second)
		}, nil, ""},
		"nothing": {mask(), &channelv1.Channel{}, func(*channelv1.Channel) {}, nil, ""},
		"fields of the service are passed over": {
			mask("id", "state", "state_reason", "inbound_token_set", "signing_secret", "create_time", "update_time", "display_name"), all,
			func(c *channelv1.Channel) { c.DisplayName = "novo" }, nil, "",
		},
		"fixed field":                     {mask("test"), &channelv1.Channel{Test: true}, nil, []string{"channel.test"}, "REQUEST_INVALID"},
		"fixed field as it is":            {mask("test", "display_name"), all, func(c *channelv1.Channel) { c.DisplayName = "novo" }, nil, ""},
		"fixed field without a mask":      {nil, &channelv1.Channel{Test: true, DisplayName: "novo"}, nil, []string{"channel.test"}, "REQUEST_INVALID"},
		"unknown":                         {mask("nonsense"), all, nil, []string{"updateMask"}, "REQUEST_INVALID"},
		"below a field":                   {mask("timeout.seconds"), all, nil, []string{"updateMask"}, "REQUEST_INVALID"},
		"required ones cannot be emptied": {mask("agent_id", "webhook_url"), &channelv1.Channel{}, nil, []string{"channel.agentId", "channel.webhookUrl"}, "REQUEST_INVALID"},
		"refused address":                 {mask("webhook_url"), &channelv1.Channel{WebhookUrl: "http://169.254.169.254/"}, nil, []string{"channel.webhookUrl"}, "WEBHOOK_URL_REFUSED"},
		"no such agent":                   {mask("agent_id"), &channelv1.Channel{AgentId: "64a1b2c3d4e5f6a7b8c9d0ab"}, nil, nil, "AGENT_NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.create(func(c *channelv1.Channel) { c.WebhookUrl = "https://example.com/1" })
			answer, err := r.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
				Instance: "acme", Id: before.GetId(), Channel: test.values, UpdateMask: test.mask,
			})
			got, getErr := r.channels.GetChannel(t.Context(), &channelv1.GetChannelRequest{Instance: "acme", Id: before.GetId()})
			require.NoError(t, getErr)
			want := proto.Clone(before).(*channelv1.Channel)
			want.SigningSecret = ""
			if test.reason != "" {
				require.Equal(t, test.reason, rpcerr.Reason(err))
				require.Equal(t, test.fields, fields(err))
			} else {
				require.NoError(t, err)
				require.True(t, proto.Equal(answer.GetChannel(), got.GetChannel()))
				test.want(want)
			}
			want.CreateTime, want.UpdateTime = got.GetChannel().GetCreateTime(), got.GetChannel().GetUpdateTime()
			require.Equal(t, want.String(), got.GetChannel().String())
		})
	}
}

func TestAnUpdateIsUsedAtOnce(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	c := r.create()
	r.send(c, "ana", "1")
	r.receiver.await(t, 1)
	_, err := r.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
		Instance: "acme", Id: c.GetId(), Channel: &channelv1.Channel{WebhookUrl: r.receiver.URL + "/new"},
	})
	require.NoError(t, err)
	r.send(c, "ana", "2")
	got := r.receiver.await(t, 2)
	require.Equal(t, "/hook", got[0].path)
	require.Equal(t, "/new", got[1].path)
	require.NoError(t, got[1].bad)
}

func TestInstanceWalls(t *testing.T) {
	r := newRig(t, onSQLite(t))
	c := r.create()
	for name, call := range map[string]func(ctx context.Context, instance, id string) error{
		"get": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.GetChannel(ctx, &channelv1.GetChannelRequest{Instance: instance, Id: id})
			return err
		},
		"update": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.UpdateChannel(ctx, &channelv1.UpdateChannelRequest{
				Instance: instance, Id: id, Channel: &channelv1.Channel{DisplayName: "meu"},
			})
			return err
		},
		"update with refused values": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.UpdateChannel(ctx, &channelv1.UpdateChannelRequest{
				Instance: instance, Id: id, Channel: &channelv1.Channel{WebhookUrl: "https://10.0.0.1"},
			})
			return err
		},
		"pause": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.PauseChannel(ctx, &channelv1.PauseChannelRequest{Instance: instance, Id: id})
			return err
		},
		"resume": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.ResumeChannel(ctx, &channelv1.ResumeChannelRequest{Instance: instance, Id: id})
			return err
		},
		"rotate secret": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.RotateChannelSecret(ctx, &channelv1.RotateChannelSecretRequest{Instance: instance, Id: id})
			return err
		},
		"check": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.CheckChannel(ctx, &channelv1.CheckChannelRequest{Instance: instance, Id: id})
			return err
		},
		"delete": func(ctx context.Context, instance, id string) error {
			_, err := r.channels.DeleteChannel(ctx, &channelv1.DeleteChannelRequest{Instance: instance, Id: id})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			strangers := call(t.Context(), "other", c.GetId())
			requireError(t, strangers, codes.NotFound, "CHANNEL_NOT_FOUND")
			nobodys := call(t.Context(), "other", "64a1b2c3d4e5f6a7b8c9d0e1")
			require.Equal(t, status.Convert(strangers).Message(), status.Convert(nobodys).Message(), "a stranger's is like nobody's")
		})
	}
	list, err := r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "other"})
	require.NoError(t, err)
	require.Empty(t, list.GetChannels())
	got, err := r.channels.GetChannel(t.Context(), &channelv1.GetChannelRequest{Instance: "acme", Id: c.GetId()})
	require.NoError(t, err)
	require.Equal(t, "Canal", got.GetChannel().GetDisplayName())
}
