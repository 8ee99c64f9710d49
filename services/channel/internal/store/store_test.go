package store_test

import (
	"testing"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/channel/internal/store/storetest"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestStore(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			testkit.EachEngine(t, migrations.FS, "channel", func(t *testing.T, db *sqldb.DB) {
				c.Run(t, store.New(db))
			})
		})
	}
}

func TestLeasesOfTheDead(t *testing.T) {
	testkit.EachEngine(t, migrations.FS, "channel", storetest.LeasesOfTheDead)
}
