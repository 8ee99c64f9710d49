package channel_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// hasty is a config with two attempts, one right after the other.
func hasty(t testing.TB) channel.Config {
	schedule, err := webhook.ParseSchedule("1ms")
	require.NoError(t, err)
	return channel.Config{Schedule: schedule, Poll: 5 * time.Millisecond}
}

func fails(_ int, _ hook, w http.ResponseWriter) {
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write([]byte("não"))
}

// list are all deliveries that a request gives, page by page.
func (r *rig) list(request *channelv1.ListDeliveriesRequest) (all []*channelv1.Delivery) {
	r.t.Helper()
	request.Instance = "acme"
	for {
		page, err := r.outbox.ListDeliveries(r.t.Context(), request)
		require.NoError(r.t, err)
		all = append(all, page.GetDeliveries()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all
		}
	}
}

func (r *rig) delivery(id string) *channelv1.Delivery {
	r.t.Helper()
	got, err := r.outbox.GetDelivery(r.t.Context(), &channelv1.GetDeliveryRequest{Instance: "acme", Id: id})
	require.NoError(r.t, err)
	return got.GetDelivery()
}

func (r *rig) retry(id string) *channelv1.Delivery {
	r.t.Helper()
	got, err := r.outbox.RetryDelivery(r.t.Context(), &channelv1.RetryDeliveryRequest{Instance: "acme", Id: id})
	require.NoError(r.t, err)
	return got.GetDelivery()
}

func (r *rig) replay(c *channelv1.Channel, states ...channelv1.Delivery_State) int {
	r.t.Helper()
	request := &channelv1.ReplayDeliveriesRequest{Instance: "acme", EndpointId: c.GetId(), States: states}
	for count := 0; ; {
		got, err := r.outbox.ReplayDeliveries(r.t.Context(), request)
		require.NoError(r.t, err)
		count += int(got.GetCount())
		if request.PageToken = got.GetNextPageToken(); request.PageToken == "" {
			return count
		}
	}
}

func (r *rig) counted(queued, requeued, delivered, dead, cancelled int) {
	r.t.Helper()
	expected := fmt.Sprintf(`
# HELP prosa_channel_deliveries_total Deliveries by state; queued counts all that were made, requeued those that were to be sent again.
# TYPE prosa_channel_deliveries_total counter
prosa_channel_deliveries_total{state="cancelled"} %d
prosa_channel_deliveries_total{state="dead"} %d
prosa_channel_deliveries_total{state="delivered"} %d
prosa_channel_deliveries_total{state="erased"} 0
prosa_channel_deliveries_total{state="queued"} %d
prosa_channel_deliveries_total{state="requeued"} %d
`, cancelled, dead, delivered, queued, requeued)
	require.NoError(r.t, testutil.GatherAndCompare(r.metrics, stringReader(expected), "prosa_channel_deliveries_total"))
	require.EqualValues(r.t, queued+requeued, int64(delivered+dead+cancelled)+r.backlog().Deliveries)
}

func TestADeadDeliveryIsShownWithItsAttemptsAndSentAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(hasty(t))).start()
		c := r.create()
		r.receiver.answer(fails)
		began := time.Now().Truncate(time.Millisecond)
		r.send(c, "ana", "um")
		r.send(c, "ana", "dois")
		r.receiver.await(t, 4)
		r.drained()

		dead := r.list(&channelv1.ListDeliveriesRequest{State: []channelv1.Delivery_State{channelv1.Delivery_DEAD}, PageSize: 1})
		require.Len(t, dead, 2)
		require.EqualValues(t, 2, dead[0].GetSequence(), "the newest first")
		first := r.delivery(dead[1].GetId())
		require.Equal(t, c.GetId(), first.GetEndpointId())
		require.Equal(t, contactOf("ana"), first.GetContactId())
		require.Equal(t, interactionOf("ana"), first.GetInteractionId())
		require.EqualValues(t, 1, first.GetSequence())
		require.Equal(t, channelv1.Delivery_DEAD, first.GetState())
		require.Nil(t, first.GetNextAttemptTime())
		require.WithinRange(t, first.GetCreateTime().AsTime(), began, time.Now())
		require.Len(t, first.GetAttempts(), 2)
		for _, a := range first.GetAttempts() {
			require.EqualValues(t, 500, a.GetStatusCode())
			require.Equal(t, "status", a.GetError())
			require.Equal(t, "não", a.GetAnswer())
			require.WithinRange(t, a.GetTime().AsTime(), began, time.Now())
			require.GreaterOrEqual(t, a.GetDurationMs(), int32(0))
		}

		r.receiver.answer(nil)
		require.Equal(t, channelv1.Delivery_PENDING, r.retry(first.GetId()).GetState())
		got := r.receiver.await(t, 5)
		require.Equal(t, got[0].body, got[4].body)
		require.Equal(t, first.GetId(), got[4].header.Get("webhook-id"))
		require.Equal(t, "1", got[4].header.Get("Prosa-Sequence"))
		require.NoError(t, got[4].bad)
		r.drained()
		after := r.delivery(first.GetId())
		require.Equal(t, channelv1.Delivery_DELIVERED, after.GetState())
		require.Len(t, after.GetAttempts(), 3)
		require.Empty(t, after.GetAttempts()[2].GetError())
		require.Equal(t, channelv1.Delivery_DEAD, r.delivery(dead[0].GetId()).GetState(), "only the one that was meant")
		r.stop()
		r.counted(2, 1, 1, 2, 0)
	})
}

func TestAReplayHasTheWholeScheduleAndEndsDeadAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(hasty(t))).start()
		c := r.create()
		r.receiver.answer(fails)
		const all = 4 // few enough for the breaker
		for i := range all {
			r.send(c, fmt.Sprint("p", i%2), "oi")
		}
		r.receiver.await(t, 2*all)
		r.drained()
		require.Equal(t, all, r.replay(c))
		r.receiver.await(t, 4*all)
		r.drained()
		for _, d := range r.list(&channelv1.ListDeliveriesRequest{EndpointId: c.GetId()}) {
			require.Equal(t, channelv1.Delivery_DEAD, d.GetState())
			require.Len(t, d.GetAttempts(), 4)
		}
		r.receiver.answer(nil)
		require.Equal(t, all, r.replay(c, channelv1.Delivery_DEAD))
		got := r.receiver.await(t, 5*all)[4*all:]
		r.drained()
		last := map[string]string{}
		for _, h := range got {
			conversation := h.body[:50]
			require.Greater(t, h.header.Get("Prosa-Sequence"), last[conversation], "in sequence")
			last[conversation] = h.header.Get("Prosa-Sequence")
		}
		require.Zero(t, r.replay(c), "none is dead any more")
		require.Equal(t, all, r.replay(c, channelv1.Delivery_DELIVERED), "they are sent again on demand all the same")
		r.receiver.await(t, 6*all)
		r.drained()
		r.stop()
		r.counted(all, 3*all, 2*all, 2*all, 0)
	})
}

func TestAPausedChannelKeepsWhatIsToBeSentAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(hasty(t))).start()
		c, other := r.create(), r.create()
		r.receiver.answer(fails)
		for range 3 {
			r.send(c, "ana", "oi")
		}
		r.send(other, "bia", "oi")
		r.receiver.await(t, 8)
		r.drained()
		r.receiver.answer(nil)
		_, err := r.channels.PauseChannel(t.Context(), &channelv1.PauseChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		require.Equal(t, 3, r.replay(c))
		require.Equal(t, 1, r.replay(other))
		r.receiver.await(t, 9)
		r.eventually(func() bool { return r.backlog().Deliveries == 3 }, "the other's is delivered")
		r.restart()
		_, err = r.channels.ResumeChannel(t.Context(), &channelv1.ResumeChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		got := r.receiver.await(t, 12)[9:]
		for i, h := range got {
			require.Equal(t, fmt.Sprint(i+1), h.header.Get("Prosa-Sequence"))
		}
		r.drained()
	})
}

func TestADeletedChannelCancelsWhatIsToBeSentAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(hasty(t))).start()
		c := r.create()
		r.receiver.answer(fails)
		for range 3 {
			r.send(c, "ana", "oi")
		}
		r.receiver.await(t, 6)
		r.drained()
		_, err := r.channels.PauseChannel(t.Context(), &channelv1.PauseChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		all := r.lane(c, "ana")
		r.retry(all[0].ID)
		r.retry(all[2].ID)
		_, err = r.channels.DeleteChannel(t.Context(), &channelv1.DeleteChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		r.drained()
		require.Equal(t, channelv1.Delivery_CANCELLED, r.delivery(all[0].ID).GetState())
		for i, state := range map[int]string{0: "CANCELLED", 1: "DEAD"} {
			_, err = r.outbox.RetryDelivery(t.Context(), &channelv1.RetryDeliveryRequest{Instance: "acme", Id: all[i].ID})
			require.Equal(t, codes.FailedPrecondition, status.Code(err))
			require.Equal(t, "DELIVERY_NOT_RETRYABLE", rpcerr.Reason(err), state)
		}
		_, err = r.outbox.ReplayDeliveries(t.Context(), &channelv1.ReplayDeliveriesRequest{Instance: "acme", EndpointId: c.GetId()})
		require.Equal(t, "CHANNEL_NOT_FOUND", rpcerr.Reason(err))
		r.stop()
		r.counted(3, 2, 0, 3, 2)
	})
}

func TestARetryOfWhatWaitsIsMadeNow(t *testing.T) {
	manual := clock.NewManual(noon)
	r := newRig(t, onSQLite(t), withClock(manual)).start()
	c := r.create()
	r.receiver.answer(fails)
	r.send(c, "ana", "oi")
	d := r.attempted(c, "ana", 1)
	waits := r.delivery(d.ID)
	require.Equal(t, channelv1.Delivery_PENDING, waits.GetState())
	require.Equal(t, noon.Add(5*time.Second), waits.GetNextAttemptTime().AsTime())
	r.receiver.answer(nil)
	require.Equal(t, noon, r.retry(d.ID).GetNextAttemptTime().AsTime())
	r.receiver.await(t, 2)
	r.drained()
	require.Len(t, r.delivery(d.ID).GetAttempts(), 2)
}

func TestAnothersDeliveriesAreNotThere(t *testing.T) {
	r := newRig(t, onSQLite(t), withConfig(hasty(t))).start()
	c := r.create()
	r.send(c, "ana", "oi")
	r.receiver.await(t, 1)
	r.drained()
	id := r.lane(c, "ana")[0].ID
	for _, name := range []string{id, "0123456789abcdef01234567", "x"} {
		_, err := r.outbox.GetDelivery(t.Context(), &channelv1.GetDeliveryRequest{Instance: "other", Id: name})
		require.Equal(t, codes.NotFound, status.Code(err))
		require.Equal(t, "DELIVERY_NOT_FOUND", rpcerr.Reason(err))
		_, err = r.outbox.RetryDelivery(t.Context(), &channelv1.RetryDeliveryRequest{Instance: "other", Id: name})
		require.Equal(t, "DELIVERY_NOT_FOUND", rpcerr.Reason(err))
	}
	_, err := r.outbox.ReplayDeliveries(t.Context(), &channelv1.ReplayDeliveriesRequest{Instance: "other", EndpointId: c.GetId()})
	require.Equal(t, "CHANNEL_NOT_FOUND", rpcerr.Reason(err))
	page, err := r.outbox.ListDeliveries(t.Context(), &channelv1.ListDeliveriesRequest{Instance: "other", EndpointId: c.GetId()})
	require.NoError(t, err)
	require.Empty(t, page.GetDeliveries())
	_, err = r.outbox.ListDeliveries(t.Context(), &channelv1.ListDeliveriesRequest{Instance: "nowhere"})
	require.Equal(t, "INSTANCE_NOT_FOUND", rpcerr.Reason(err))
	require.Equal(t, store.Delivered, r.lane(c, "ana")[0].State)
}

func TestAPageTokenIsThatOfItsList(t *testing.T) {
	r := newRig(t, onSQLite(t), withConfig(hasty(t))).start()
	c := r.create()
	for range 3 {
		r.send(c, "ana", "oi")
	}
	r.receiver.await(t, 3)
	r.drained()
	for name, first := range map[string]*channelv1.ListDeliveriesRequest{
		"all": {}, "conversation": {InteractionId: interactionOf("ana")}, "state": {State: []channelv1.Delivery_State{channelv1.Delivery_DELIVERED}},
		"since": {StartTime: timestamppb.New(noon)},
	} {
		first.Instance, first.PageSize = "acme", 1
		page, err := r.outbox.ListDeliveries(t.Context(), first)
		require.NoError(t, err)
		require.NotEmpty(t, page.GetNextPageToken())
		for what, request := range map[string]*channelv1.ListDeliveriesRequest{
			"another instance": {Instance: "other", InteractionId: first.GetInteractionId(), State: first.GetState(), StartTime: first.GetStartTime()},
			"another filter":   {Instance: "acme", ContactId: "x", InteractionId: first.GetInteractionId(), State: first.GetState(), StartTime: first.GetStartTime()},
		} {
			request.PageToken = page.GetNextPageToken()
			_, err := r.outbox.ListDeliveries(t.Context(), request)
			require.Equal(t, codes.InvalidArgument, status.Code(err), "%s, %s", name, what)
		}
		first.PageToken, first.PageSize = page.GetNextPageToken(), 2
		page, err = r.outbox.ListDeliveries(t.Context(), first)
		require.NoError(t, err, "another size is no other list")
		require.Len(t, page.GetDeliveries(), 2)
		require.Empty(t, page.GetNextPageToken())
	}
}

func TestAReplayThatHasNoTimeLeftGoesOnByItsToken(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		c, other := r.create(), r.create()
		r.buried(c, 3, 200)
		request := &channelv1.ReplayDeliveriesRequest{Instance: "acme", EndpointId: c.GetId()}
		ctx, cancel := context.WithTimeout(t.Context(), 1900*time.Millisecond) // two seconds are left for the answer
		defer cancel()
		got, err := r.outbox.ReplayDeliveries(ctx, request)
		require.NoError(t, err)
		require.Zero(t, got.GetCount())
		require.NotEmpty(t, got.GetNextPageToken())

		r.buried(c, 1, 5) // these come after its beginning
		for _, wrong := range []*channelv1.ReplayDeliveriesRequest{
			{Instance: "acme", EndpointId: other.GetId()}, {Instance: "other", EndpointId: c.GetId()},
			{Instance: "acme", EndpointId: c.GetId(), States: []channelv1.Delivery_State{channelv1.Delivery_DELIVERED}},
		} {
			wrong.PageToken = got.GetNextPageToken()
			_, err := r.outbox.ReplayDeliveries(t.Context(), wrong)
			require.Equal(t, codes.InvalidArgument, status.Code(err))
		}
		request.PageToken = got.GetNextPageToken()
		got, err = r.outbox.ReplayDeliveries(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, 600, got.GetCount())
		require.Empty(t, got.GetNextPageToken())
		require.EqualValues(t, 600, r.backlog().Deliveries)
		require.Equal(t, 5, r.replay(c), "what came later is for another replay")
	})
}
