package channel_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const callbackToken = "Bearer what the callback wants"

func botRequest(change ...func(*channelv1.BotApi)) *channelv1.CreateBotApiRequest {
	b := &channelv1.BotApi{
		DisplayName: "Integração", AgentId: agentID, CallbackUrl: "https://example.com/back", CallbackToken: callbackToken,
	}
	for _, f := range change {
		f(b)
	}
	return &channelv1.CreateBotApiRequest{Instance: "acme", BotApi: b}
}

// createBot makes an integration; the answer shows token and secret.
func (r *rig) createBot(change ...func(*channelv1.BotApi)) *channelv1.BotApi {
	r.t.Helper()
	made, err := r.botAPIs.CreateBotApi(context.Background(), botRequest(change...))
	require.NoError(r.t, err)
	return made.GetBotApi()
}

func (r *rig) getBot(b *channelv1.BotApi) *channelv1.BotApi {
	r.t.Helper()
	got, err := r.botAPIs.GetBotApi(context.Background(), &channelv1.GetBotApiRequest{Instance: "acme", Id: b.GetId()})
	require.NoError(r.t, err)
	return got.GetBotApi()
}

// withoutSecrets is what is shown of an integration afterwards.
func withoutSecrets(b *channelv1.BotApi) *channelv1.BotApi {
	b = proto.CloneOf(b)
	b.Token, b.SigningSecret = "", ""
	return b
}

func TestCreateBotAPIShowsItsSecretsOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		b := r.createBot()
		require.Len(t, b.GetId(), 24)
		require.Regexp(t, `^pbt_[0-9A-Za-z_-]{43}$`, b.GetToken())
		require.True(t, strings.HasPrefix(b.GetSigningSecret(), "whsec_"))
		require.Equal(t, "geral", b.GetSquad())
		require.Equal(t, channelv1.BotApi_V2, b.GetVersion())
		require.Equal(t, channelv1.BotApi_ACTIVE, b.GetState())
		require.False(t, b.GetIncludeContext())
		require.Empty(t, b.GetCallbackToken())
		require.True(t, proto.Equal(withoutSecrets(b), r.getBot(b)))

		stored, err := r.store.BotAPI(t.Context(), "acme", b.GetId())
		require.NoError(t, err)
		for _, kept := range [][]byte{stored.Secret, stored.TokenHash, stored.CallbackToken} {
			require.NotEmpty(t, kept)
			for _, secret := range []string{b.GetToken(), b.GetSigningSecret(), callbackToken} {
				require.False(t, bytes.Contains(kept, []byte(secret)))
			}
		}
		full := r.createBot(func(b *channelv1.BotApi) {
			b.Squad, b.Version, b.IncludeContext, b.CallbackUrl, b.CallbackToken = "vendas", channelv1.BotApi_V1, true, "", ""
		})
		require.Equal(t, "vendas", full.GetSquad())
		require.Equal(t, channelv1.BotApi_V1, full.GetVersion())
		require.True(t, full.GetIncludeContext())
		require.NotEqual(t, b.GetToken(), full.GetToken())
		require.True(t, proto.Equal(withoutSecrets(full), r.getBot(full)))
	})
}

func TestCreateBotAPIRefusals(t *testing.T) {
	r := newRig(t, onSQLite(t))
	for name, test := range map[string]struct {
		request *channelv1.CreateBotApiRequest
		code    codes.Code
		reason  string
		fields  []string
	}{
		"no such instance": {
			&channelv1.CreateBotApiRequest{Instance: "nobody", BotApi: botRequest().GetBotApi()}, codes.NotFound, "INSTANCE_NOT_FOUND", nil,
		},
		"no such agent": {
			botRequest(func(b *channelv1.BotApi) { b.AgentId = "64a1b2c3d4e5f6a7b8c9d0ab" }), codes.NotFound, "AGENT_NOT_FOUND", nil,
		},
		"inner address": {
			botRequest(func(b *channelv1.BotApi) { b.CallbackUrl = "https://10.0.0.1/" }), codes.InvalidArgument, "CALLBACK_URL_REFUSED",
			[]string{"botApi.callbackUrl"},
		},
		"user info": {
			botRequest(func(b *channelv1.BotApi) { b.CallbackUrl = "https://a:b@example.com/" }), codes.InvalidArgument, "CALLBACK_URL_REFUSED",
			[]string{"botApi.callbackUrl"},
		},
		"URL without token": {
			botRequest(func(b *channelv1.BotApi) { b.CallbackToken = "" }), codes.InvalidArgument, "CALLBACK_INCOMPLETE",
			[]string{"botApi.callbackUrl", "botApi.callbackToken"},
		},
		"token without URL": {
			botRequest(func(b *channelv1.BotApi) { b.CallbackUrl = "" }), codes.InvalidArgument, "CALLBACK_INCOMPLETE",
			[]string{"botApi.callbackUrl", "botApi.callbackToken"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.botAPIs.CreateBotApi(t.Context(), test.request)
			requireError(t, err, test.code, test.reason)
			require.Equal(t, test.fields, fields(err))
		})
	}
	r.agent.lookup = func(*agentv1.LookupAgentRequest) error { return status.Error(codes.Unavailable, "away") }
	_, err := r.botAPIs.CreateBotApi(t.Context(), botRequest())
	requireError(t, err, codes.Unavailable, "UNAVAILABLE")
	list, err := r.botAPIs.ListBotApis(t.Context(), &channelv1.ListBotApisRequest{Instance: "acme"})
	require.NoError(t, err)
	require.Empty(t, list.GetBotApis())
}

func TestSecretsOfABotAPIAreMadeOnceForAKey(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		ctx := keyed("idempotency-key", "k1")
		b := r.createBot()
		for name, call := range map[string]func() (proto.Message, error){
			"create": func() (proto.Message, error) { return r.botAPIs.CreateBotApi(ctx, botRequest()) },
			"token": func() (proto.Message, error) {
				return r.botAPIs.RotateBotApiToken(ctx, &channelv1.RotateBotApiTokenRequest{Instance: "acme", Id: b.GetId()})
			},
			"secret": func() (proto.Message, error) {
				return r.botAPIs.RotateBotApiSecret(ctx, &channelv1.RotateBotApiSecretRequest{Instance: "acme", Id: b.GetId()})
			},
		} {
			t.Run(name, func(t *testing.T) {
				answers := make([]proto.Message, 8)
				var group sync.WaitGroup
				for i := range answers {
					group.Go(func() {
						answer, err := call()
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
			})
		}
		other := r.createBot()
		_, err := r.botAPIs.RotateBotApiToken(ctx, &channelv1.RotateBotApiTokenRequest{Instance: "acme", Id: other.GetId()})
		requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		_, err = r.botAPIs.CreateBotApi(ctx, botRequest(func(b *channelv1.BotApi) { b.Squad = "outro" }))
		requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")

		rows, err := db.Reader().QueryContext(t.Context(), `SELECT response FROM idempotency`)
		require.NoError(t, err)
		defer rows.Close()
		found := 0
		for rows.Next() {
			var response []byte
			require.NoError(t, rows.Scan(&response))
			require.False(t, bytes.Contains(response, []byte("whsec_")) || bytes.Contains(response, []byte("pbt_")), "sealed at rest")
			found++
		}
		require.NoError(t, rows.Err())
		require.Equal(t, 3, found)
	})
}

func TestRotateBotAPIToken(t *testing.T) {
	r := newRig(t, onSQLite(t))
	b := r.createBot()
	before, err := r.store.BotAPI(t.Context(), "acme", b.GetId())
	require.NoError(t, err)
	answer, err := r.botAPIs.RotateBotApiToken(t.Context(), &channelv1.RotateBotApiTokenRequest{Instance: "acme", Id: b.GetId()})
	require.NoError(t, err)
	require.Regexp(t, `^pbt_`, answer.GetBotApi().GetToken())
	require.NotEqual(t, b.GetToken(), answer.GetBotApi().GetToken())
	require.Empty(t, answer.GetBotApi().GetSigningSecret())
	require.True(t, proto.Equal(withoutSecrets(answer.GetBotApi()), r.getBot(b)))
	after, err := r.store.BotAPI(t.Context(), "acme", b.GetId())
	require.NoError(t, err)
	require.NotEqual(t, before.TokenHash, after.TokenHash)
	require.Equal(t, before.Secret, after.Secret)
}

func TestRotateBotAPISecret(t *testing.T) {
	manual := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	r := newRig(t, onSQLite(t), withClock(manual))
	b := r.createBot()
	secrets := []string{b.GetSigningSecret()}
	rotate := func() (*channelv1.RotateBotApiSecretResponse, error) {
		return r.botAPIs.RotateBotApiSecret(t.Context(), &channelv1.RotateBotApiSecretRequest{Instance: "acme", Id: b.GetId()})
	}
	for range signing.MaxSecrets - 1 {
		answer, err := rotate()
		require.NoError(t, err)
		require.NotContains(t, secrets, answer.GetBotApi().GetSigningSecret())
		require.Empty(t, answer.GetBotApi().GetToken())
		require.True(t, proto.Equal(withoutSecrets(answer.GetBotApi()), r.getBot(b)))
		secrets = append(secrets, answer.GetBotApi().GetSigningSecret())
	}
	_, err := rotate()
	requireError(t, err, codes.FailedPrecondition, "SECRET_ROTATED_TOO_OFTEN")
	manual.Advance(signing.Overlap)
	_, err = rotate()
	require.NoError(t, err)
}

func TestPauseAndResumeBotAPI(t *testing.T) {
	r := newRig(t, onSQLite(t))
	b := r.createBot()
	pause := func() *channelv1.BotApi {
		answer, err := r.botAPIs.PauseBotApi(t.Context(), &channelv1.PauseBotApiRequest{Instance: "acme", Id: b.GetId()})
		require.NoError(t, err)
		return answer.GetBotApi()
	}
	resume := func() *channelv1.BotApi {
		answer, err := r.botAPIs.ResumeBotApi(t.Context(), &channelv1.ResumeBotApiRequest{Instance: "acme", Id: b.GetId()})
		require.NoError(t, err)
		return answer.GetBotApi()
	}
	require.True(t, proto.Equal(withoutSecrets(b), resume()), "an active one is left as it is")
	paused := pause()
	require.Equal(t, channelv1.BotApi_PAUSED, paused.GetState())
	require.True(t, proto.Equal(paused, pause()))
	require.Equal(t, channelv1.BotApi_ACTIVE, resume().GetState())
	require.Equal(t, channelv1.BotApi_ACTIVE, r.getBot(b).GetState())
}

func TestListBotAPIs(t *testing.T) {
	r := newRig(t, onSQLite(t))
	var want, got []string
	for range 7 {
		want = append(want, r.createBot().GetId())
	}
	r.create() // a channel is not among them
	token := ""
	for {
		page, err := r.botAPIs.ListBotApis(t.Context(), &channelv1.ListBotApisRequest{Instance: "acme", PageSize: 3, PageToken: token})
		require.NoError(t, err)
		for _, b := range page.GetBotApis() {
			require.Empty(t, b.GetToken()+b.GetSigningSecret()+b.GetCallbackToken())
			got = append(got, b.GetId())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
		_, err = r.channels.ListChannels(t.Context(), &channelv1.ListChannelsRequest{Instance: "acme", PageToken: token})
		requireError(t, err, codes.InvalidArgument, "REQUEST_INVALID")
		_, err = r.botAPIs.ListBotApis(t.Context(), &channelv1.ListBotApisRequest{Instance: "other", PageToken: token})
		requireError(t, err, codes.InvalidArgument, "REQUEST_INVALID")
	}
	require.Equal(t, want, got)
	_, err := r.botAPIs.ListBotApis(t.Context(), &channelv1.ListBotApisRequest{Instance: "nobody"})
	requireError(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
}

func TestUpdateBotAPI(t *testing.T) {
	r := newRig(t, onSQLite(t))
	all := &channelv1.BotApi{
		DisplayName: "novo", AgentId: agentID, Squad: "vendas", Version: channelv1.BotApi_V1, CallbackUrl: "https://example.com/2",
		CallbackToken: "outro", IncludeContext: true,
	}
	for name, test := range map[string]struct {
		mask   *fieldmaskpb.FieldMask
		values *channelv1.BotApi
		want   func(*channelv1.BotApi)
		fields []string
		reason string
	}{
		"one field": {mask("display_name"), all, func(b *channelv1.BotApi) { b.DisplayName = "novo" }, nil, ""},
		"no mask changes what is set": {
			nil, &channelv1.BotApi{CallbackUrl: "https://example.com/2", Id: "ignored"},
			func(b *channelv1.BotApi) { b.CallbackUrl = "https://example.com/2" }, nil, "",
		},
		"named and empty is emptied, or the default": {
			mask("display_name", "squad", "version", "include_context"), &channelv1.BotApi{},
			func(b *channelv1.BotApi) {
				b.DisplayName, b.Squad, b.Version, b.IncludeContext = "", "geral", channelv1.BotApi_V2, false
			}, nil, "",
		},
		"everything": {mask("*"), all, func(b *channelv1.BotApi) {
			b.DisplayName, b.Squad, b.Version, b.CallbackUrl, b.IncludeContext = "novo", "vendas", channelv1.BotApi_V1, "https://example.com/2", true
		}, nil, ""},
		"the callback goes": {
			mask("callback_url", "callback_token"), &channelv1.BotApi{}, func(b *channelv1.BotApi) { b.CallbackUrl = "" }, nil, "",
		},
		"the URL alone does not go": {
			mask("callback_url"), &channelv1.BotApi{}, nil, []string{"botApi.callbackUrl", "botApi.callbackToken"}, "CALLBACK_INCOMPLETE",
		},
		"nor does the token": {
			mask("callback_token"), &channelv1.BotApi{}, nil, []string{"botApi.callbackUrl", "botApi.callbackToken"}, "CALLBACK_INCOMPLETE",
		},
		"fields of the service are passed over": {
			mask("id", "state", "state_reason", "token", "signing_secret", "create_time", "update_time", "display_name"), all,
			func(b *channelv1.BotApi) { b.DisplayName = "novo" }, nil, "",
		},
		"unknown":                      {mask("nonsense"), all, nil, []string{"updateMask"}, "REQUEST_INVALID"},
		"what is required stays":       {mask("agent_id"), &channelv1.BotApi{}, nil, []string{"botApi.agentId"}, "REQUEST_INVALID"},
		"refused address":              {mask("callback_url"), &channelv1.BotApi{CallbackUrl: "http://169.254.169.254/"}, nil, []string{"botApi.callbackUrl"}, "CALLBACK_URL_REFUSED"},
		"no such agent":                {mask("agent_id"), &channelv1.BotApi{AgentId: "64a1b2c3d4e5f6a7b8c9d0ab"}, nil, nil, "AGENT_NOT_FOUND"},
		"nothing is named and changed": {mask(), &channelv1.BotApi{}, func(*channelv1.BotApi) {}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.createBot(func(b *channelv1.BotApi) {
				b.CallbackUrl, b.IncludeContext, b.Squad = "https://example.com/1", true, "suporte"
			})
			answer, err := r.botAPIs.UpdateBotApi(t.Context(), &channelv1.UpdateBotApiRequest{
				Instance: "acme", Id: before.GetId(), BotApi: test.values, UpdateMask: test.mask,
			})
			got, want := r.getBot(before), withoutSecrets(before)
			if test.reason != "" {
				require.Equal(t, test.reason, rpcerr.Reason(err))
				require.Equal(t, test.fields, fields(err))
			} else {
				require.NoError(t, err)
				require.True(t, proto.Equal(answer.GetBotApi(), got))
				test.want(want)
			}
			want.UpdateTime = got.GetUpdateTime()
			require.Equal(t, want.String(), got.String())
		})
	}
}

func TestInstanceWallsOfBotAPIs(t *testing.T) {
	r := newRig(t, onSQLite(t))
	b := r.createBot()
	for name, call := range map[string]func(ctx context.Context, instance, id string) error{
		"get": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.GetBotApi(ctx, &channelv1.GetBotApiRequest{Instance: instance, Id: id})
			return err
		},
		"update with refused values": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.UpdateBotApi(ctx, &channelv1.UpdateBotApiRequest{
				Instance: instance, Id: id, BotApi: &channelv1.BotApi{CallbackUrl: "https://10.0.0.1"},
			})
			return err
		},
		"delete": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.DeleteBotApi(ctx, &channelv1.DeleteBotApiRequest{Instance: instance, Id: id})
			return err
		},
		"token": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.RotateBotApiToken(ctx, &channelv1.RotateBotApiTokenRequest{Instance: instance, Id: id})
			return err
		},
		"secret": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.RotateBotApiSecret(ctx, &channelv1.RotateBotApiSecretRequest{Instance: instance, Id: id})
			return err
		},
		"pause": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.PauseBotApi(ctx, &channelv1.PauseBotApiRequest{Instance: instance, Id: id})
			return err
		},
		"resume": func(ctx context.Context, instance, id string) error {
			_, err := r.botAPIs.ResumeBotApi(ctx, &channelv1.ResumeBotApiRequest{Instance: instance, Id: id})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			strangers := call(t.Context(), "other", b.GetId())
			requireError(t, strangers, codes.NotFound, "BOT_API_NOT_FOUND")
			nobodys := call(t.Context(), "other", "64a1b2c3d4e5f6a7b8c9d0e1")
			require.Equal(t, status.Convert(strangers).Message(), status.Convert(nobodys).Message(), "a stranger's is like nobody's")
		})
	}
	require.True(t, proto.Equal(withoutSecrets(b), r.getBot(b)))
	_, err := r.botAPIs.DeleteBotApi(t.Context(), &channelv1.DeleteBotApiRequest{Instance: "acme", Id: b.GetId()})
	require.NoError(t, err)
	_, err = r.botAPIs.GetBotApi(t.Context(), &channelv1.GetBotApiRequest{Instance: "acme", Id: b.GetId()})
	requireError(t, err, codes.NotFound, "BOT_API_NOT_FOUND")
}
