package turn_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// BenchmarkTurn runs turns of 1,000 conversations from 64 callers on the embedded store: the whole of RunTurn, without contacts.
func BenchmarkTurn(b *testing.B) {
	f := newFixture(b, testkit.Open(b, testkit.Options(b, sqldb.SQLite, store.Migrations(), "agent")))
	f.createAgent(b, "acme", "a1", echoing())
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			m := message("m"+strconv.FormatInt(i, 10), "bom dia")
			m.Identifier = strconv.FormatInt(i%1000, 10)
			if _, err := f.runner.Run(b.Context(), m, engine.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}
