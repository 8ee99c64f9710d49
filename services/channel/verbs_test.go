package channel_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// anHour is a schedule whose every wait is longer than any test.
func anHour(t testing.TB) channel.Config {
	schedule, err := webhook.ParseSchedule("1h,1h,1h")
	require.NoError(t, err)
	return channel.Config{Poll: 20 * time.Millisecond, Schedule: schedule}
}

func (r *rig) pause(c *channelv1.Channel) *channelv1.Channel {
	r.t.Helper()
	answer, err := r.channels.PauseChannel(context.Background(), &channelv1.PauseChannelRequest{Instance: "acme", Id: c.GetId()})
	require.NoError(r.t, err)
	return answer.GetChannel()
}

func (r *rig) resume(c *channelv1.Channel) *channelv1.Channel {
	r.t.Helper()
	answer, err := r.channels.ResumeChannel(context.Background(), &channelv1.ResumeChannelRequest{Instance: "acme", Id: c.GetId()})
	require.NoError(r.t, err)
	return answer.GetChannel()
}

func (r *rig) rotate(c *channelv1.Channel) string {
	r.t.Helper()
	answer, err := r.channels.RotateChannelSecret(context.Background(), &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: c.GetId()})
	require.NoError(r.t, err)
	require.NotEmpty(r.t, answer.GetChannel().GetSigningSecret())
	return answer.GetChannel().GetSigningSecret()
}

func (r *rig) get(c *channelv1.Channel) *channelv1.Channel {
	r.t.Helper()
	answer, err := r.channels.GetChannel(context.Background(), &channelv1.GetChannelRequest{Instance: "acme", Id: c.GetId()})
	require.NoError(r.t, err)
	return answer.GetChannel()
}

func TestAPausedChannelKeepsItsQueueAndResumingSendsIt(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create()
		paused := r.pause(c)
		require.Equal(t, channelv1.Channel_PAUSED, paused.GetState())
		require.Empty(t, paused.GetSigningSecret())
		require.True(t, proto.Equal(paused, r.pause(c)), "pausing twice changes nothing")
		for _, words := range []string{"1", "2", "3"} {
			r.send(c, "ana", words)
		}
		r.eventually(func() bool { return r.backlog().Deliveries == 3 }, "answers wait")
		require.Zero(t, r.receiver.count())

		resumed := r.resume(c)
		require.Equal(t, channelv1.Channel_ACTIVE, resumed.GetState())
		require.True(t, proto.Equal(resumed, r.resume(c)))
		var sequences []string
		for _, h := range r.receiver.await(t, 3) {
			sequences = append(sequences, h.header.Get("prosa-sequence"))
		}
		require.Equal(t, []string{"1", "2", "3"}, sequences)
		r.drained()
	})
}

func TestResumingDoesNotWaitForTheNextAttempt(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(anHour(t))).start()
		c := r.create()
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n == 1 {
				w.Header().Set("Retry-After", "86400")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			acknowledge(w)
		})
		r.send(c, "ana", "oi")
		r.eventually(func() bool { all := r.lane(c, "ana"); return len(all) == 1 && all[0].AttemptCount == 1 }, "the first attempt failed")
		r.pause(c)
		r.resume(c)
		got := r.receiver.await(t, 2)
		require.Equal(t, got[0].header.Get("webhook-id"), got[1].header.Get("webhook-id"))
		r.drained()
		require.Equal(t, 2, r.lane(c, "ana")[0].AttemptCount, "the first attempt stays counted")
	})
}

func TestADisabledChannelIsResumed(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(anHour(t))).start()
		c := r.create()
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n == 1 {
				w.WriteHeader(http.StatusGone)
				return
			}
			acknowledge(w)
		})
		r.send(c, "ana", "oi")
		r.eventually(func() bool { return r.get(c).GetState() == channelv1.Channel_DISABLED }, "disabled by 410")
		require.NotEmpty(t, r.get(c).GetStateReason())
		r.eventually(func() bool { return r.lane(c, "ana")[0].AttemptCount == 1 }, "the attempt is stored")
		resumed := r.resume(c)
		require.Equal(t, channelv1.Channel_ACTIVE, resumed.GetState())
		require.Empty(t, resumed.GetStateReason())
		r.receiver.await(t, 2)
		r.drained()
	})
}

func TestAnotherWebhookGetsWhatTheOldOneMadeWait(t *testing.T) {
	r := newRig(t, onSQLite(t), withConfig(anHour(t))).start()
	c := r.create()
	r.receiver.answer(func(n int, h hook, w http.ResponseWriter) {
		if h.path == "/hook" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		acknowledge(w)
	})
	r.send(c, "ana", "oi")
	r.eventually(func() bool { all := r.lane(c, "ana"); return len(all) == 1 && all[0].AttemptCount == 1 }, "the first attempt failed")
	_, err := r.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
		Instance: "acme", Id: c.GetId(), Channel: &channelv1.Channel{WebhookUrl: r.receiver.URL + "/new"},
	})
	require.NoError(t, err)
	require.Equal(t, "/new", r.receiver.await(t, 2)[1].path)
	r.drained()
}

// verifiedBy reports whether the public library of the specification takes the
// webhook with the secret.
func verifiedBy(t *testing.T, h hook, secret string) bool {
	t.Helper()
	reference, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return reference.Verify([]byte(h.body), h.header) == nil
}

func TestBothSecretsSignAfterARotation(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create()
		r.send(c, "ana", "1")
		newer := r.rotate(c)
		require.NotEqual(t, c.GetSigningSecret(), newer)
		require.Empty(t, r.get(c).GetSigningSecret())
		r.receiver.await(t, 1)
		r.send(c, "ana", "2")
		got := r.receiver.await(t, 2)
		require.True(t, verifiedBy(t, got[0], c.GetSigningSecret()))

		signatures := strings.Split(got[1].header.Get("webhook-signature"), " ")
		require.Len(t, signatures, 2)
		for _, signature := range signatures {
			require.True(t, strings.HasPrefix(signature, "v1,"))
		}
		require.True(t, verifiedBy(t, got[1], newer))
		require.True(t, verifiedBy(t, got[1], c.GetSigningSecret()))
		require.False(t, verifiedBy(t, got[1], webhook.NewSecret(nil).Reveal()))
		got[1].header.Set("webhook-signature", signatures[0])
		require.True(t, verifiedBy(t, got[1], newer), "the new one comes first")
		require.False(t, verifiedBy(t, got[1], c.GetSigningSecret()))
	})
}

func TestARotationIsSealedAndKeptToItsChannel(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		c := r.create()
		newer := r.rotate(c)
		var sealed, stored []byte
		row, err := r.store.Channel(t.Context(), "acme", c.GetId())
		require.NoError(t, err)
		sealed = row.Secret
		for _, secret := range []string{newer, c.GetSigningSecret()} {
			require.NotContains(t, string(sealed), secret[6:])
		}
		ctx := keyed("idempotency-key", "k")
		request := &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: c.GetId()}
		first, err := r.channels.RotateChannelSecret(ctx, request)
		require.NoError(t, err)
		again, err := r.channels.RotateChannelSecret(ctx, request)
		require.NoError(t, err)
		require.True(t, proto.Equal(first, again), "the same secret is shown to the same call")
		require.NoError(t, db.Reader().QueryRowContext(t.Context(), `SELECT response FROM idempotency WHERE scope = 'RotateChannelSecret'`).Scan(&stored))
		require.NotContains(t, string(stored), "whsec_")
		_, err = r.channels.RotateChannelSecret(ctx, &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: r.create().GetId()})
		requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")

		// What is sealed for one channel cannot be another's.
		other := r.create()
		theirs, err := r.store.Channel(t.Context(), "acme", other.GetId())
		require.NoError(t, err)
		_, _, err = r.store.ReplaceSecret(t.Context(), theirs, sealed, nil, time.Now())
		require.NoError(t, err)
		_, err = r.channels.RotateChannelSecret(t.Context(), &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: other.GetId()})
		requireError(t, err, codes.Internal, "INTERNAL")
	})
}

func TestRotationsAtOnceAreOneAfterTheOther(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		c := r.create()
		var (
			mu      sync.Mutex
			secrets = map[string]bool{}
			group   sync.WaitGroup
		)
		for range 20 {
			group.Go(func() {
				answer, err := r.channels.RotateChannelSecret(t.Context(), &channelv1.RotateChannelSecretRequest{Instance: "acme", Id: c.GetId()})
				if err != nil {
					if rpcerr.Reason(err) != "SECRET_ROTATED_TOO_OFTEN" || rpcerr.Code(err) != codes.FailedPrecondition {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				defer mu.Unlock()
				secrets[answer.GetChannel().GetSigningSecret()] = true
			})
		}
		group.Wait()
		require.Len(t, secrets, signing.MaxSecrets-1, "as many as can be valid beside the first")
		r.start()
		r.send(c, "ana", "oi")
		got := r.receiver.await(t, 1)[0]
		secrets[c.GetSigningSecret()] = true
		for secret := range secrets {
			require.True(t, verifiedBy(t, got, secret), "no secret that somebody was shown is lost")
		}
	})
}

// stateOf is a channel's state in the store.
func (r *rig) stateOf(c *channelv1.Channel) store.State {
	r.t.Helper()
	row, err := r.store.Channel(context.Background(), "acme", c.GetId())
	require.NoError(r.t, err)
	return row.State
}

func TestMessagesAreTakenWhilePaused(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	c := r.create()
	r.pause(c)
	r.send(c, "ana", "oi")
	r.eventually(func() bool { return r.backlog().Messages == 0 }, "answered")
	require.Equal(t, []string{"oi"}, r.agent.texts("ana"))
	require.Equal(t, store.Paused, r.stateOf(c))
	r.restart()
	require.Equal(t, store.Paused, r.stateOf(c), "a restart resumes nothing")
	require.Zero(t, r.receiver.count())
	r.resume(c)
	r.receiver.await(t, 1)
	r.drained()
}

func TestCheckReportsWithoutLeavingATrace(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create(func(c *channelv1.Channel) { c.Test = true })
		r.pause(c)
		r.rotate(c)
		before := r.get(c)
		r.receiver.answer(func(_ int, h hook, w http.ResponseWriter) {
			if h.bad != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			acknowledge(w)
		})
		check := func() (*channelv1.CheckChannelResponse, error) {
			return r.channels.CheckChannel(t.Context(), &channelv1.CheckChannelRequest{Instance: "acme", Id: c.GetId()})
		}
		answer, err := check()
		require.NoError(t, err)
		report := answer.GetCheck()
		require.Len(t, report.GetResults(), 9)
		for i, result := range report.GetResults() {
			require.EqualValues(t, i+1, result.GetKind(), "one for each kind, in their order")
			require.NotEqual(t, channelv1.ChannelCheck_VERDICT_UNSPECIFIED, result.GetVerdict())
			if result.GetKind() == channelv1.ChannelCheck_TLS {
				continue
			}
			require.Len(t, result.GetWebhookId(), 24)
			require.Positive(t, result.GetLatency().AsDuration())
		}
		text := report.GetResults()[1]
		require.Equal(t, channelv1.ChannelCheck_PASSED, text.GetVerdict())
		require.EqualValues(t, 200, text.GetStatusCode())
		require.Equal(t, `{"status":"ok"}`, text.GetAnswer())
		require.Equal(t, channelv1.ChannelCheck_PASSED, report.GetResults()[7].GetVerdict(), "the wrong signature is refused")
		// The rig's receiver does not look at the age of timestamps.
		require.Equal(t, channelv1.ChannelCheck_WARNED, report.GetResults()[8].GetVerdict())
		require.Equal(t, channelv1.ChannelCheck_WARNED, report.GetVerdict())

		got := r.receiver.await(t, 8)
		require.Len(t, strings.Split(got[0].header.Get("webhook-signature"), " "), 2)
		require.Contains(t, got[0].body, `"debug":{`)
		require.Zero(t, r.backlog().Deliveries)
		require.Zero(t, r.backlog().Messages)
		require.True(t, proto.Equal(before, r.get(c)), "the channel is as it was")

		for range 4 {
			_, err = check()
			require.NoError(t, err)
		}
		_, err = check()
		requireError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
		after, ok := rpcerr.RetryAfter(err)
		require.True(t, ok)
		require.Positive(t, after)
	})
}
