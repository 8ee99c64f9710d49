package store

import (
	"bytes"
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// BenchmarkCommitTurn commits turns of conversations that stay open, from 64 callers, each with one of its own, on the embedded
// store.
func BenchmarkCommitTurn(b *testing.B) {
	for _, size := range []int{200, 1500} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			s := New(testkit.Open(b, testkit.Options(b, sqldb.SQLite, Migrations(), "agent")))
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			body := bytes.Repeat([]byte("x"), size)
			var callers, ids atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(32)
			drained := make(chan error, 1)
			done := make(chan struct{})
			go func() { drained <- drain(b.Context(), s, now, done) }()
			b.RunParallel(func(pb *testing.PB) {
				caller := strconv.FormatInt(callers.Add(1), 10)
				c := Conversation{ID: "66a1b2c3d4e5f60718" + caller, ContactID: "66a1b2c3d4e5f6071829", AgentVersion: 1, FlowState: body[:100]}
				for pb.Next() {
					id := "66a1b2c3d4e5f" + strconv.FormatInt(100_000_000+ids.Add(1), 10)
					t := &Turn{
						Lane: Lane{Instance: "acme", AgentID: "66a1b2c3d4e5f60718293a4b", EndpointID: "66a1b2c3d4e5f60718293a4b", Identifier: caller},
						ID:   id, Source: "api_channel", Conversation: c, Answer: body, Record: body[:100], Messages: 2, Time: now,
					}
					if err := s.CommitTurn(b.Context(), t); err != nil {
						b.Error(err)
						return
					}
					c = t.After()
				}
			})
			close(done)
			require.NoError(b, <-drained)
		})
	}
}

// drain takes the records out as the recorder does.
func drain(ctx context.Context, s *Store, now time.Time, done <-chan struct{}) error {
	lease, _, err := s.TakeLease(ctx, "recorder", "h", now, now.Add(time.Hour))
	if err != nil {
		return err
	}
	round := time.NewTicker(20 * time.Millisecond)
	defer round.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-round.C:
		}
		records, err := s.PendingRecords(ctx, RecordKey{}, 200)
		if err != nil {
			return err
		}
		keys := make([]RecordKey, len(records))
		for i, r := range records {
			keys[i] = r.Key
		}
		if err := s.DeleteRecords(ctx, lease, "acme", keys); err != nil {
			return err
		}
		if len(records) == 200 {
			round.Reset(time.Nanosecond)
		} else {
			round.Reset(20 * time.Millisecond)
		}
	}
}
