package record

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ledger is the contacts service: all turns of a call or none, each once by its id. It notes when a turn comes before an earlier one
// of its conversation.
type ledger struct {
	mu sync.Mutex
	// kept are the turns by instance and conversation, in order of their first arrival.
	kept map[string][]int64
	// calls are the sizes of the calls, in order.
	calls []int
	// bad says with what code a turn is not taken.
	bad map[string]codes.Code
	// away is what every call fails with.
	away codes.Code
	// loseAnswer makes the next call fail after it took effect.
	loseAnswer bool
	// disorder says what came too early.
	disorder []string
	// erased are attendances that are not there.
	erased []int64
	// skipped are turns that may be missing before later ones.
	skipped map[string]bool
	called  chan struct{}
}

func newLedger() *ledger {
	return &ledger{
		kept: make(map[string][]int64), bad: make(map[string]codes.Code), skipped: make(map[string]bool), called: make(chan struct{}, 1000),
	}
}

func turnID(instance, conversation string, number int64) string {
	return instance + "/" + conversation + "/" + strconv.FormatInt(number, 10)
}

func (l *ledger) RecordTurns(
	ctx context.Context, r *contactsv1.RecordTurnsRequest, _ ...grpc.CallOption,
) (*contactsv1.RecordTurnsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.called <- struct{}{} }()
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	l.calls = append(l.calls, len(r.GetTurns()))
	if l.away != codes.OK {
		return nil, status.Error(l.away, "away")
	}
	for _, turn := range r.GetTurns() {
		if code, bad := l.bad[turn.GetTurnId()]; bad {
			return nil, status.Error(code, "bad turn")
		}
	}
	response := &contactsv1.RecordTurnsResponse{}
	for _, turn := range r.GetTurns() {
		if slices.Contains(l.erased, turn.GetAttendanceId()) {
			response.UnknownAttendanceIds = append(response.UnknownAttendanceIds, turn.GetAttendanceId())
			continue
		}
		l.keep(r.GetInstance(), turn.GetTurnId())
	}
	if l.loseAnswer {
		l.loseAnswer = false
		return nil, status.Error(codes.Unavailable, "answer lost")
	}
	return response, nil
}

func (l *ledger) keep(instance, id string) {
	parts := strings.Split(id, "/")
	conversation := instance + "/" + parts[1]
	number, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || parts[0] != instance {
		l.disorder = append(l.disorder, id+" in "+instance)
		return
	}
	kept := l.kept[conversation]
	last := int64(0)
	if len(kept) > 0 {
		last = kept[len(kept)-1]
	}
	if number <= last {
		return // it is known
	}
	for missing := last + 1; missing < number; missing++ {
		if !l.skipped[turnID(instance, parts[1], missing)] {
			l.disorder = append(l.disorder, id)
		}
	}
	l.kept[conversation] = append(kept, number)
}

func (l *ledger) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, turns := range l.kept {
		n += len(turns)
	}
	return n
}

func (l *ledger) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

type fixture struct {
	store    *store.Store
	db       *sqldb.DB
	ledger   *ledger
	clock    *clock.Manual
	recorder *Recorder
	metrics  *prometheus.Registry
	logs     *strings.Builder
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		f := &fixture{
			store: store.New(db), db: db, ledger: newLedger(), clock: clock.NewManual(start), metrics: prometheus.NewRegistry(),
			logs: &strings.Builder{},
		}
		f.recorder = f.newRecorder(t, f.store, "h1", f.metrics)
		test(t, f)
		require.Empty(t, f.ledger.disorder)
	})
}

func (f *fixture) newRecorder(t *testing.T, s Store, holder string, registerer prometheus.Registerer) *Recorder {
	t.Helper()
	metrics, err := NewMetrics(registerer, s, f.clock)
	require.NoError(t, err)
	return NewRecorder(Deps{
		Store: s, Contacts: f.ledger, Clock: f.clock, Logger: slog.New(slog.NewTextHandler(f.logs, nil)), Metrics: metrics, Holder: holder,
	})
}

// converse commits turns from number first to number last of a conversation.
func (f *fixture) converse(t *testing.T, instance, conversation string, first, last int64) {
	t.Helper()
	for n := first; n <= last; n++ {
		record, err := proto.Marshal(&contactsv1.TurnRecord{UserText: "segredo"})
		require.NoError(t, err)
		f.commit(t, instance, conversation, n, record)
	}
}

// answer is what the agent answers in every turn.
func answer(t *testing.T) []byte {
	t.Helper()
	raw, err := proto.Marshal(&agentv1.RunTurnResponse{AttendanceId: 7, Finished: true, Messages: []*messagev1.Message{{Msgid: "m"}}})
	require.NoError(t, err)
	return raw
}

func (f *fixture) commit(t *testing.T, instance, conversation string, number int64, record []byte) *store.Turn {
	t.Helper()
	turn := &store.Turn{
		Lane: store.Lane{Instance: instance, AgentID: "a1", EndpointID: "e1", Identifier: conversation},
		ID:   turnID(instance, conversation, number), Source: "api",
		Conversation: store.Conversation{ID: conversation, AttendanceID: 1, LastTurn: number - 1, FlowState: []byte{}},
		Answer:       answer(t), Record: record, Time: start,
	}
	require.NoError(t, f.store.CommitTurn(t.Context(), turn))
	return turn
}

func (f *fixture) runOnce(t *testing.T) {
	t.Helper()
	require.NoError(t, f.recorder.runOnce(t.Context()))
}

func (f *fixture) pending(t *testing.T) int {
	t.Helper()
	n, _, err := f.store.CountRecords(t.Context(), 1_000_000)
	require.NoError(t, err)
	return n
}

// counts are the values of prosa_agent_records_total by outcome, and of the gauges.
func (f *fixture) counts(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := f.metrics.Gather()
	require.NoError(t, err)
	got := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetGauge() != nil {
				got[strings.TrimPrefix(family.GetName(), "prosa_agent_")] = m.GetGauge().GetValue()
			}
			for _, label := range m.GetLabel() {
				got[label.GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return got
}

func conversation(i int) string { return fmt.Sprintf("c%04d", i) }
