package quota_test

import (
	"testing"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
)

// BenchmarkTake is what the limits cost a call that is allowed, where it is counted in this process, and one that is refused again.
func BenchmarkTake(b *testing.B) {
	for name, limits := range map[string]quota.Limits{"allowed": {PerDay: quota.MaxPerDay}, "refused": {PerDay: 1}} {
		b.Run(name, func(b *testing.B) {
			keeper := quotatest.Keeper(b, clock.System())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keeper.Take(b.Context(), quotatest.Key("1"), limits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
