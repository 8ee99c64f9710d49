package channel_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// TestATraceOutlivesFailuresAndRestarts has an agent that fails, a receiver
// that fails, and a restart between the attempts.
func TestATraceOutlivesFailuresAndRestarts(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		schedule, err := webhook.ParseSchedule("200ms")
		require.NoError(t, err)
		spans := tracetest.NewSpanRecorder()
		r := newRig(t, db, withConfig(channel.Config{Poll: 20 * time.Millisecond, Schedule: schedule}), func(r *rig) {
			r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
		}).start()
		asked := 0
		r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			if asked++; asked == 1 {
				return nil, status.Error(codes.Unavailable, "away")
			}
			return []*messagev1.Message{text("a"), text("b")}, nil
		})
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n == 1 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			acknowledge(w)
		})
		c := r.create()
		r.send(c, "ana", "oi")
		r.receiver.await(t, 1)
		r.restart()
		hooks := r.receiver.await(t, 3)
		r.drained()
		r.stop()

		var accept sdktrace.ReadOnlySpan
		var turns, attempts []sdktrace.ReadOnlySpan
		for _, span := range spans.Ended() {
			switch span.Name() {
			case "/prosa.channel.v1.InboundService/ReceiveMessage":
				accept = span
			case "prosa.channel.turn":
				turns = append(turns, span)
			case "prosa.channel.delivery":
				attempts = append(attempts, span)
			}
		}
		require.Len(t, turns, 2)
		require.Equal(t, []string{"Unavailable", ""}, []string{turns[0].Status().Description, turns[1].Status().Description})
		for _, turn := range turns {
			require.Equal(t, accept.SpanContext().TraceID(), turn.SpanContext().TraceID())
			require.Equal(t, accept.SpanContext().SpanID(), turn.Parent().SpanID(), "tries are siblings")
		}
		require.Len(t, attempts, 3)
		for i, attempt := range attempts {
			require.Equal(t, turns[1].SpanContext().SpanID(), attempt.Parent().SpanID(), "of the turn that was stored")
			require.Equal(t, "00-"+accept.SpanContext().TraceID().String()+"-"+attempt.SpanContext().SpanID().String()+"-01", hooks[i].header.Get("traceparent"))
		}
		require.Equal(t, []string{"status", "", ""},
			[]string{attempts[0].Status().Description, attempts[1].Status().Description, attempts[2].Status().Description})
		require.Equal(t, hooks[0].header.Get("webhook-id"), hooks[1].header.Get("webhook-id"))
	})
}

func TestWithoutATracerNothingOfTracesIsStoredOrSent(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create()
		r.send(c, "ana", "oi")
		require.Empty(t, r.receiver.await(t, 1)[0].header.Get("traceparent"))
		r.drained()
		require.Empty(t, r.lane(c, "ana")[0].Trace)
	})
}
