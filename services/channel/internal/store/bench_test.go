package store

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// BenchmarkMessage takes messages of 1,000 persons the whole way through the embedded store: accepted, answered, and the answer
// delivered, each step by 64 callers at once.
func BenchmarkMessage(b *testing.B) {
	db := testkit.Open(b, testkit.Options(b, sqldb.SQLite, migrations.FS, "channel"))
	s, ids := New(db), id.NewSource(clock.System(), nil)
	c := &Channel{
		Instance: "acme", ID: ids.New(), AgentID: ids.New(), WebhookURL: "https://example.com/hook", Acknowledgement: StatusOK,
		Timeout: time.Second, State: Active, Secret: []byte("sealed"),
	}
	_, err := s.CreateChannel(b.Context(), c, nil)
	require.NoError(b, err)
	body := bytes.Repeat([]byte("x"), 300)
	interactions := make([]string, 1000)
	for i := range interactions {
		interactions[i] = ids.New()
	}
	const callers = 64
	var group sync.WaitGroup
	step := func(n int, do func(i int) error) {
		for caller := range callers {
			group.Go(func() {
				for i := caller; i < n; i += callers {
					if err := do(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
	}
	type way struct {
		message  *Message
		accepted Accepted
		finished Finished
		answer   Outgoing
	}
	b.ResetTimer()
	b.ReportAllocs()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	commits, spent, written := db.Stats().Commits, processorTime(b), bytesWritten(b)
	for from := 0; from < b.N; from += 1000 {
		ways := make([]way, min(1000, b.N-from))
		until := now.Add(time.Hour)
		step(len(ways), func(i int) (err error) {
			w := &ways[i]
			w.message = &Message{
				ThreadKey: ThreadKey{Instance: "acme", ChannelID: c.ID, ClientIdentifier: fmt.Sprint("person-", i)},
				ID:        ids.NewOrdered(), Text: "Olá, preciso de ajuda com o pedido", CreateTime: now,
			}
			w.accepted, err = s.Accept(b.Context(), w.message, nil, until)
			return err
		})
		step(len(ways), func(i int) (err error) {
			w := &ways[i]
			w.answer = Outgoing{ID: ids.NewOrdered(), Body: body}
			w.finished, err = s.FinishTurn(b.Context(), &Turn{
				ThreadKey: w.message.ThreadKey, Epoch: w.accepted.Held.Epoch, Seq: w.accepted.Held.Seq, ContactID: interactions[i],
				InteractionID: interactions[i], Answer: []Outgoing{w.answer}, HoldLane: until,
			}, now)
			return err
		})
		step(len(ways), func(i int) error {
			w := &ways[i]
			_, err := s.Settle(b.Context(), &Delivery{
				LaneKey: w.finished.Lane.LaneKey, Sequence: w.finished.FirstSequence, ID: w.answer.ID, State: Delivered, AttemptCount: 1,
				Attempts: []byte(`[{"time":"2026-03-01T12:00:00.000Z","durationMs":2,"statusCode":200,"answer":"{\"status\":\"ok\"}"}]`),
			}, w.finished.Lane.Epoch, now)
			return err
		})
	}
	n := float64(b.N)
	b.ReportMetric(float64(db.Stats().Commits-commits)/n, "commits/op")
	b.ReportMetric(float64((processorTime(b)-spent).Nanoseconds())/n, "cpu-ns/op")
	b.ReportMetric(float64(bytesWritten(b)-written)/n, "written-B/op")
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// bytesWritten is what this process has written to files, the log of the store and its checkpoints.
func bytesWritten(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip("this system does not count what is written")
	}
	var read, written int64
	_, err = fmt.Sscanf(string(text), "rchar: %d\nwchar: %d", &read, &written)
	require.NoError(b, err)
	return written
}
