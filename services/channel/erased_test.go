package channel_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// erasedMessages checks how many messages were erased unanswered.
func (r *rig) erasedMessages(n int) {
	r.t.Helper()
	require.NoError(r.t, testutil.GatherAndCompare(r.metrics, strings.NewReader(fmt.Sprintf(`
# HELP prosa_channel_messages_erased_total Accepted messages that were not answered because their person was erased.
# TYPE prosa_channel_messages_erased_total counter
prosa_channel_messages_erased_total %d
`, n)), "prosa_channel_messages_erased_total"))
}

func TestAMessageOfAnErasedPersonIsDropped(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		r.agent.set(func(request *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			if request.GetText() == "before" {
				return nil, rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_PERSON_ERASED, "the person was erased").GRPCStatus().Err()
			}
			return []*messagev1.Message{text("echo: " + request.GetText())}, nil
		})
		r.start()
		c := r.create()
		r.send(c, "ana", "before")
		r.send(c, "ana", "after")
		r.send(c, "bia", "before")
		r.receiver.await(t, 1)
		r.drained()
		require.Len(t, r.lane(c, "ana"), 1, "what came later is answered")
		threads, err := r.store.PersonThreads(t.Context(), "acme", "bia", []string{c.GetId()})
		require.NoError(t, err)
		require.Empty(t, threads)
		r.stop() // what is stored is counted a moment later
		r.erasedMessages(2)
	})
}

func TestATurnOfAnErasedThreadLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		asked, erased := make(chan struct{}), make(chan struct{})
		r.agent.set(func(request *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			if request.GetText() == "before" {
				close(asked)
				<-erased
			}
			return []*messagev1.Message{text("echo: " + request.GetText())}, nil
		})
		r.start()
		c := r.create()
		r.send(c, "ana", "before")
		<-asked
		_, err := r.store.EraseThread(t.Context(), store.ThreadKey{Instance: "acme", ChannelID: c.GetId(), ClientIdentifier: "ana"})
		require.NoError(t, err)
		r.send(c, "ana", "after") // begins the thread anew while the turn of the erased one runs
		r.receiver.await(t, 1)
		close(erased)
		r.drained()
		r.stop()
		lane := r.lane(c, "ana")
		require.Len(t, lane, 1)
		require.Contains(t, string(lane[0].Body), "echo: after")
	})
}

func TestAnAttemptOfAnErasedLaneIsNotStored(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		arrived, erased := make(chan struct{}), make(chan struct{})
		r.receiver.answer(func(number int, _ hook, w http.ResponseWriter) {
			if number == 1 {
				close(arrived)
				<-erased
			}
			acknowledge(w)
		})
		r.start()
		c := r.create()
		r.send(c, "ana", "before")
		<-arrived
		deliveries, pending, err := r.store.EraseLane(context.WithoutCancel(t.Context()),
			store.LaneKey{Instance: "acme", EndpointID: c.GetId(), InteractionID: interactionOf("ana")})
		require.NoError(t, err)
		require.EqualValues(t, 1, deliveries)
		require.EqualValues(t, 1, pending)
		close(erased)
		r.drained()
		r.stop()
		require.Empty(t, r.lane(c, "ana"))
	})
}
