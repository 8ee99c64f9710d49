package turn_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func requireEqual(t testing.TB, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func TestConversationFromOpeningToEnd(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		first := f.run(t, message("m1", "oi"))
		require.Equal(t, []string{"v1: Loja acme em Belém", "Qual o seu nome?"}, texts(first))
		require.Equal(t, "interaction-1", first.GetInteractionId())
		require.Equal(t, "contact-of-joão", first.GetContactId())
		require.EqualValues(t, 1, first.GetAttendanceId())
		require.EqualValues(t, 1, first.GetDebug().GetAgentVersion())
		require.Equal(t, "ask", first.GetDebug().GetNode())
		require.False(t, first.GetFinished())
		require.Len(t, f.contacts.calls, 1)
		requireEqual(t, &contactsv1.OpenAttendanceRequest{
			Instance: "acme", RequestId: "m1", AssistantId: 1, Identifier: "joão", Source: "api_channel", Time: timestamppb.New(start),
		}, f.contacts.calls[0])

		second := f.run(t, message("m2", "João"))
		require.Equal(t, []string{"v1: Tchau, João."}, texts(second))
		require.Equal(t, first.GetInteractionId(), second.GetInteractionId())
		require.True(t, second.GetFinished())

		third := f.run(t, message("m3", "oi de novo"))
		require.Equal(t, "interaction-2", third.GetInteractionId(), "a finished conversation takes no more")
		require.Equal(t, texts(first), texts(third))

		requireEqual(t, second, f.run(t, message("m2", "João")))
		require.Equal(t, 2, f.contacts.opened(), "the message that ended a conversation opens none when it is repeated")
		require.Equal(t, 3, f.committed)
	})
}

func TestRecordsSayWhatHappened(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.run(t, message("m1", "oi"))
		f.clock.Advance(time.Minute)
		ended := message("m2", "João")
		ended.Postback = "index0"
		ended.AcceptTime = timestamppb.New(start.Add(time.Second))
		answer := f.run(t, ended)
		records, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 10)
		require.NoError(t, err)
		require.Len(t, records, 2)
		require.Equal(t, store.RecordKey{Instance: "acme", ConversationID: "interaction-1", TurnNumber: 2}, records[1].Key)
		require.Equal(t, "m2", records[1].TurnID)
		said, err := f.store.Said(t.Context(), "acme", []string{"m2"})
		require.NoError(t, err)
		record := &contactsv1.TurnRecord{}
		require.NoError(t, proto.Unmarshal(said["m2"].Record, record))
		requireEqual(t, &contactsv1.TurnRecord{
			UserTime: ended.GetAcceptTime(), UserText: "João", UserPostback: "index0", AnswerTime: timestamppb.New(start.Add(time.Minute)),
			Events:     []*contactsv1.EventRecord{{Name: "encerramento", Details: map[string]string{"motivo": "fim"}}},
			Attributes: map[string]string{"name": "João"},
		}, record)
		stored := &agentv1.RunTurnResponse{}
		require.NoError(t, proto.Unmarshal(said["m2"].Answer, stored))
		requireEqual(t, answer, stored)
	})
}

func TestMessagesAreCounted(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.run(t, message("m1", "oi"))
		opened := message("m2", "")
		opened.Identifier = "maria"
		f.run(t, opened)
		counted := func(interaction string) int {
			return f.count(t, `SELECT messages FROM conversation WHERE instance = 'acme' AND id = '`+interaction+`'`)
		}
		require.Equal(t, 2, counted("interaction-1"))
		require.Equal(t, 1, counted("interaction-2"), "the person said nothing when a program opened the turn")
		pressed := message("m3", "")
		pressed.Identifier, pressed.Postback = "maria", "index0"
		f.run(t, pressed)
		require.Equal(t, 3, counted("interaction-2"))
	})
}

func TestRepeatGivesTheStoredAnswer(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		first := f.run(t, message("m1", "oi"))
		f.clock.Advance(time.Hour)
		requireEqual(t, first, f.run(t, message("m1", "oi")))
		f.run(t, message("m2", "João"))
		requireEqual(t, first, f.run(t, message("m1", "oi")))
		require.Len(t, f.contacts.calls, 1)
		require.Equal(t, 2, f.count(t, `SELECT count(*) FROM turn`))
		require.Equal(t, 2, f.committed)
	})
}

func TestRunningConversationStaysOnItsVersion(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.run(t, message("m1", "oi"))
		second := version(t, asking("v2"))
		_, err := f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{Publish: &second}, start)
		require.NoError(t, err)
		pinned := f.run(t, message("m2", "João"))
		require.Equal(t, []string{"v1: Tchau, João."}, texts(pinned))
		require.EqualValues(t, 1, pinned.GetDebug().GetAgentVersion())
		newest := f.run(t, message("m3", "oi"))
		require.Equal(t, "v2: Loja acme em Belém", texts(newest)[0])
		require.EqualValues(t, 2, newest.GetDebug().GetAgentVersion())
	})
}

func TestDeletedAgentAnswersNobody(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		first := f.run(t, message("m1", "oi"))
		require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "a1", start))
		f.runner.AgentChanged("acme", "a1")
		_, err := f.runner.Run(t.Context(), message("m2", "João"), engine.Discard)
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
		fresh := message("m3", "oi")
		fresh.Identifier = "maria"
		_, err = f.runner.Run(t.Context(), fresh, engine.Discard)
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
		require.Equal(t, map[string]string{"id": "a1"}, rpcerr.Metadata(status.Convert(err)))
		requireEqual(t, first, f.run(t, message("m1", "oi")))
		require.Equal(t, 1, f.contacts.opened())
	})
}

func TestUnknownAgentOrInstance(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		unknown := message("m1", "oi")
		unknown.AgentId = "a9"
		_, err := f.runner.Run(t.Context(), unknown, engine.Discard)
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
		delete(f.instances, "acme")
		_, err = f.runner.Run(t.Context(), message("m1", "oi"), engine.Discard)
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
		require.Zero(t, f.contacts.opened())
	})
}

func TestInstancesAreApart(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		there := message("m1", "oi")
		there.Instance = "other"
		mine, theirs := f.run(t, message("m1", "oi")), f.run(t, there)
		require.Equal(t, "v1: Loja acme em Belém", texts(mine)[0])
		require.Equal(t, "v1: Loja other em Belém", texts(theirs)[0])
		require.NotEqual(t, mine.GetInteractionId(), theirs.GetInteractionId())
		next := message("m2", "Maria")
		next.Instance = "other"
		require.Equal(t, []string{"v1: Tchau, Maria."}, texts(f.run(t, next)))
		require.Equal(t, []string{"v1: Tchau, João."}, texts(f.run(t, message("m2", "João"))))
	})
}

func TestIdleConversationIsOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		first := f.run(t, message("m1", "oi"))
		late := message("m2", "João")
		late.AcceptTime = timestamppb.New(start.Add(inactivity))
		require.Equal(t, "interaction-2", f.run(t, late).GetInteractionId())
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE state = 'OPEN'`))
		requireEqual(t, first, f.run(t, message("m1", "oi")))
		ends, err := f.store.Ends(t.Context(), "acme", []string{"interaction-1", "interaction-2"})
		require.NoError(t, err)
		require.Equal(t, map[string]store.End{"interaction-1": {AttendanceID: 1, Time: start.Add(inactivity)}}, ends,
			"it was over when the time had passed, not when somebody wrote again")
	})
}

func TestMessageAcceptedInTimeGoesOn(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.run(t, message("m1", "oi"))
		f.clock.Advance(100 * inactivity)
		inTime := message("m2", "João")
		inTime.AcceptTime = timestamppb.New(start.Add(inactivity - time.Microsecond))
		require.Equal(t, "interaction-1", f.run(t, inTime).GetInteractionId())
	})
}

func TestSameMessageManyTimesAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const callers = 16
		answers := make([]*agentv1.RunTurnResponse, callers)
		errs := make([]error, callers)
		var done sync.WaitGroup
		for i := range callers {
			done.Go(func() { answers[i], errs[i] = f.runner.Run(t.Context(), message("m1", "oi"), engine.Discard) })
		}
		done.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, answer := range answers {
			requireEqual(t, answers[0], answer)
		}
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM turn`))
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation`))
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM pending_record`))
		require.Equal(t, 1, f.contacts.opened())
		require.Equal(t, 1, f.committed)
	})
}

func TestDifferentMessagesOfOneConversationAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "a2", echoing())
		const callers = 12
		interactions := make([]string, callers)
		errs := make([]error, callers)
		var done sync.WaitGroup
		for i := range callers {
			done.Go(func() {
				m := message("m"+strconv.Itoa(i), "texto "+strconv.Itoa(i))
				m.AgentId = "a2"
				for {
					answer, err := f.runner.Run(t.Context(), m, engine.Discard)
					if rpcerr.Code(err) == codes.Unavailable {
						continue // as the channel service does
					}
					interactions[i], errs[i] = answer.GetInteractionId(), err
					return
				}
			})
		}
		done.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, interaction := range interactions {
			require.Equal(t, interactions[0], interaction)
		}
		require.Equal(t, callers, f.count(t, `SELECT count(DISTINCT number) FROM turn`))
		require.Equal(t, callers, f.count(t, `SELECT max(number) FROM turn`))
		require.Equal(t, 2*callers, f.count(t, `SELECT messages FROM conversation`))
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation`))
	})
}

func TestContactsFailures(t *testing.T) {
	for _, c := range []struct{ from, to codes.Code }{
		{codes.Unavailable, codes.Unavailable}, {codes.DeadlineExceeded, codes.Unavailable}, {codes.Aborted, codes.Unavailable},
		{codes.ResourceExhausted, codes.Unavailable}, {codes.InvalidArgument, codes.Internal}, {codes.Internal, codes.Internal},
	} {
		t.Run(c.from.String(), func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				f.contacts.failure = status.Error(c.from, "x")
				_, err := f.runner.Run(t.Context(), message("m1", "oi"), engine.Discard)
				require.Equal(t, c.to, rpcerr.Code(err))
				require.NotContains(t, status.Convert(err).Message(), "open attendance", "causes stay inside")
				f.contacts.failure = nil
				f.run(t, message("m1", "oi"))
			})
		})
	}
}

func TestTextThatAStoreCannotKeepIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		bad := message("m\x001", "oi")
		bad.Identifier, bad.Source, bad.EndpointId, bad.AgentId, bad.Instance = "\x00", "\x00", "\x00", "\x00", "\x00"
		_, err := f.runner.Run(t.Context(), bad, engine.Discard)
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
		var fields []string
		for _, v := range rpcerr.Violations(status.Convert(err)) {
			fields = append(fields, v.Field)
		}
		require.Equal(t, []string{"instance", "agentId", "messageId", "source", "endpointId", "identifier"}, fields)
		f.run(t, message("m1", "texto com \x00 dentro"))
	})
}

func TestTurnIsOneWrite(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "a2", echoing())
		run := func(messageID string) {
			m := message(messageID, "oi")
			m.AgentId = "a2"
			f.run(t, m)
		}
		run("m1")
		for i := range 3 {
			before := f.db.Stats().Writes
			run("n" + strconv.Itoa(i))
			require.EqualValues(t, 1, f.db.Stats().Writes-before)
		}
	})
}

func TestOutcomesAreCounted(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.run(t, message("m1", "oi"))
		f.run(t, message("m1", "oi"))
		unknown := message("m2", "oi")
		unknown.AgentId = "a9"
		_, err := f.runner.Run(t.Context(), unknown, engine.Discard)
		require.Error(t, err)
		n, err := testutil.GatherAndCount(f.metrics, "prosa_agent_turns_total")
		require.NoError(t, err)
		require.Equal(t, 6, n)
		families, err := f.metrics.Gather()
		require.NoError(t, err)
		got := make(map[string]float64)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, label := range m.GetLabel() {
					if m.GetCounter().GetValue() > 0 {
						got[label.GetValue()] = m.GetCounter().GetValue()
					}
				}
			}
		}
		require.Equal(t, map[string]float64{"answered": 1, "repeated": 1, "agent_not_found": 1}, got)
	})
}

func TestZoneThatIsNotKnownIsUTC(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.instances["acme"] = &accountsv1.Instance{Slug: "acme", DisplayName: "Loja acme", TimeZone: "Nowhere/Never"}
		f.createAgent(t, "acme", "a2", &agentv1.AgentDefinition{
			DisplayName: "Hora", Fallback: "h",
			Nodes: map[string]*agentv1.Node{"h": {Say: []*agentv1.Say{say("{{ string(now.getHours()) }}")}}},
		})
		m := message("m1", "que horas?")
		m.AgentId = "a2"
		require.NotEmpty(t, texts(f.run(t, m)))
	})
}

func TestDebugNamesTheTrace(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		require.Empty(t, f.run(t, message("m1", "oi")).GetDebug().GetTraceId())
		span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4}})
		answer, err := f.runner.Run(trace.ContextWithSpanContext(t.Context(), span), message("m2", "João"), engine.Discard)
		require.NoError(t, err)
		require.Empty(t, answer.GetDebug().GetTraceId(), "a trace that nobody keeps")
		answer, err = f.runner.Run(trace.ContextWithSpanContext(t.Context(), span.WithTraceFlags(trace.FlagsSampled)), message("m3", "11144477735"), engine.Discard)
		require.NoError(t, err)
		require.Equal(t, "01020300000000000000000000000000", answer.GetDebug().GetTraceId())
	})
}
