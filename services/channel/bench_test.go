package channel_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// eachEngine runs a benchmark on SQLite and, where there is a server, PostgreSQL.
func eachEngine(b *testing.B, bench func(b *testing.B, db *sqldb.DB)) {
	for _, d := range []sqldb.Dialect{sqldb.SQLite, sqldb.Postgres} {
		b.Run(d.String(), func(b *testing.B) {
			options := testkit.Options(b, d, channel.Migrations(), "channel")
			options.Logger = nil
			bench(b, testkit.Open(b, options))
		})
	}
}

// BenchmarkAccept is a message on disk, 64 senders at once, turns switched off.
func BenchmarkAccept(b *testing.B) {
	eachEngine(b, func(b *testing.B, db *sqldb.DB) {
		r := newRig(b, db, withConfig(channel.Config{TurnsOff: true, EndpointRate: unlimited}))
		c := r.create()
		var n atomic.Int64
		before := db.Stats().Commits
		b.SetParallelism(32)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.inbound.ReceiveMessage(b.Context(), received(c.GetId(), fmt.Sprint("p", n.Add(1)%1000), "Olá, preciso de ajuda")); err != nil {
					b.Error(err)
				}
			}
		})
		b.StopTimer()
		b.ReportMetric(float64(db.Stats().Commits-before)/float64(b.N), "commits/op")
	})
}

// BenchmarkWholeWay is a message from its acceptance until its answer was
// acknowledged, over 1,000 conversations, with an agent that costs nothing.
func BenchmarkWholeWay(b *testing.B) {
	eachEngine(b, func(b *testing.B, db *sqldb.DB) {
		r := newRig(b, db, withConfig(channel.Config{EndpointRate: unlimited})).start()
		c := r.create()
		var arrived atomic.Int64
		done := make(chan struct{})
		r.receiver.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			acknowledge(w)
			if arrived.Add(1) == int64(b.N) {
				close(done)
			}
		})
		var n atomic.Int64
		before := db.Stats().Commits
		b.SetParallelism(32)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.inbound.ReceiveMessage(b.Context(), received(c.GetId(), fmt.Sprint("p", n.Add(1)%1000), "Olá, preciso de ajuda")); err != nil {
					b.Error(err)
				}
			}
		})
		select {
		case <-done:
		case <-time.After(time.Minute):
			require.Fail(b, "answers are missing", "%d of %d arrived", arrived.Load(), b.N)
		}
		b.StopTimer()
		b.ReportMetric(float64(db.Stats().Commits-before)/float64(b.N), "commits/op")
	})
}

// unlimited lets one channel take what a benchmark sends.
var unlimited = ratelimit.Rate{PerSecond: -1}
