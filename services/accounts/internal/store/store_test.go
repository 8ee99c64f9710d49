package store_test

import (
	"testing"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/accounts/internal/store/storetest"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestContract(t *testing.T) {
	for _, dialect := range []sqldb.Dialect{sqldb.SQLite, sqldb.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) *sqldb.DB {
				return testkit.Open(t, testkit.Options(t, dialect, store.Migrations(), "accounts"))
			})
		})
	}
}
