package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// batchSize is how many turns the agent service hands over in one call while it is busy.
const batchSize = 200

var benchStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// BenchmarkRecordTurns records turns of attendances that are open at the same time, one of an attendance in each call, on the embedded
// store. An operation is a turn. The ids of turns follow their time, but a call has them in the order of the attendances. In the last
// case each turn learns two attributes and reports an event.
func BenchmarkRecordTurns(b *testing.B) {
	for name, test := range map[string]struct {
		active   int
		findings bool
	}{"1000": {1_000, false}, "10000": {10_000, false}, "findings": {1_000, true}} {
		b.Run(name, func(b *testing.B) {
			active := test.active
			s := New(testkit.Open(b, testkit.Options(b, sqldb.SQLite, Migrations(), "contacts")))
			openMany(b, s, active)
			random := rand.New(rand.NewPCG(1, 2))
			ids := 0
			batch := func(n int) []Turn {
				turns := benchTurns(random.Perm(active)[:n], &ids)
				for i := range turns {
					if test.findings {
						turns[i].Attributes = []Attribute{{Name: "name", Value: turns[i].ID}, {Name: "cpf", Value: turns[i].ID, Lookup: turns[i].ID}}
						turns[i].Events = []Event{{Name: "e", Details: map[string]string{"k": "v"}, Time: benchStart}}
					}
				}
				return turns
			}
			record := func(turns []Turn) {
				fresh, _, err := s.RecordTurns(b.Context(), "acme", turns)
				require.NoError(b, err)
				require.Equal(b, len(turns), fresh)
			}
			for range 10 * active / batchSize { // a conversation has a past
				record(batch(batchSize))
			}
			var batches [][]Turn
			for left := b.N; left > 0; left -= batchSize {
				batches = append(batches, batch(min(left, batchSize)))
			}
			measure(b, func() {
				for _, turns := range batches {
					record(turns)
				}
			})
		})
	}
}

// BenchmarkOpenAttendance opens attendances of persons who are new, from 64 callers, on the embedded store.
func BenchmarkOpenAttendance(b *testing.B) {
	s := New(testkit.Open(b, testkit.Options(b, sqldb.SQLite, Migrations(), "contacts")))
	openMany(b, s, 1000)
	var ids atomic.Int64
	ids.Store(1 << 24)
	b.SetParallelism(32)
	measure(b, func() {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.OpenAttendance(b.Context(), benchOpening(ids.Add(1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// benchTurns makes a turn for each attendance, the first of which is 0.
func benchTurns(attendances []int, ids *int) []Turn {
	items := bytes.Repeat([]byte("x"), 300)
	turns := make([]Turn, len(attendances))
	for i, n := range attendances {
		*ids++
		turns[i] = Turn{ID: fmt.Sprintf("66a1b2c3d4e5f607%08x", *ids), AttendanceID: int64(n + 1), Items: items, Spoken: 1}
	}
	slices.SortFunc(turns, func(a, b Turn) int { return cmp.Compare(a.AttendanceID, b.AttendanceID) })
	return turns
}

func benchOpening(n int64) Opening {
	return Opening{
		Instance: "acme", RequestID: fmt.Sprintf("66a1b2c3d4e5f601%08x", n), InteractionID: fmt.Sprintf("66a1b2c3d4e5f602%08x", n),
		ContactID: fmt.Sprintf("66a1b2c3d4e5f603%08x", n), Identifier: fmt.Sprintf("%08x-person", uint32(n)*2654435761),
		AssistantID: 7, Source: "api_channel", Time: benchStart.Add(time.Duration(n) * time.Millisecond),
	}
}

func openMany(b *testing.B, s *Store, n int) {
	b.Helper()
	batch := make([]*opening, n)
	for i := range batch {
		batch[i] = &opening{Opening: benchOpening(int64(i + 1))}
	}
	require.NoError(b, s.db.Write(b.Context(), func(ctx context.Context, tx sqldb.Tx) error { return openAll(ctx, tx, batch) }))
}

// measure runs work and reports what an operation takes of the processors, and writes.
func measure(b *testing.B, work func()) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	cpu, written := processorTime(b), bytesWritten(b)
	work()
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(bytesWritten(b)-written)/float64(b.N), "written-B/op")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func bytesWritten(b *testing.B) int64 {
	b.Helper()
	counts, err := os.ReadFile("/proc/self/io")
	require.NoError(b, err)
	_, after, found := strings.Cut(string(counts), "wchar: ")
	require.True(b, found)
	number, _, _ := strings.Cut(after, "\n")
	written, err := strconv.ParseInt(number, 10, 64)
	require.NoError(b, err)
	return written
}

// BenchmarkHistory reads what was said in 100 attendances of ten turns, which were recorded among those of 10,000.
func BenchmarkHistory(b *testing.B) {
	const active = 10_000
	s := New(testkit.Open(b, testkit.Options(b, sqldb.SQLite, Migrations(), "contacts")))
	openMany(b, s, active)
	random := rand.New(rand.NewPCG(1, 2))
	ids := 0
	for range 10 {
		numbers := random.Perm(active)
		for part := range slices.Chunk(numbers, batchSize) {
			_, _, err := s.RecordTurns(b.Context(), "acme", benchTurns(part, &ids))
			require.NoError(b, err)
		}
	}
	next := 0
	b.ReportAllocs()
	for b.Loop() {
		numbers := make([]int64, 100)
		for i := range numbers {
			next = (next + 7919) % active
			numbers[i] = int64(next + 1)
		}
		history, err := s.History(b.Context(), "acme", numbers)
		require.NoError(b, err)
		require.Len(b, history, 100)
	}
}
