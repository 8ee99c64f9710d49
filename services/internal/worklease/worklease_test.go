package worklease_test

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var migrations = func() fstest.MapFS {
	steps := fstest.MapFS{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		steps[dialect+"/00001_lease.sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
CREATE TABLE worker_lease (instance TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name));
`)}
	}
	return steps
}()

// TestOneShiftAtATime: of two processes one has the shift, keeps it as long as it goes on, and the other has it when it does not.
func TestOneShiftAtATime(t *testing.T) {
	testkit.EachEngine(t, migrations, "worklease", func(t *testing.T, db *sqldb.DB) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		one := worklease.Shift{DB: db, Name: "work", Holder: "one", Length: time.Minute}
		two := worklease.Shift{DB: db, Name: "work", Holder: "two", Length: time.Minute}
		other := worklease.Shift{DB: db, Name: "other work", Holder: "two", Length: time.Minute}
		hold := func(s *worklease.Shift) bool {
			t.Helper()
			held, err := s.Hold(t.Context(), now)
			require.NoError(t, err)
			return held
		}
		require.True(t, hold(&one))
		require.False(t, hold(&two))
		require.True(t, hold(&other))

		written := db.Stats().Writes
		now = now.Add(30*time.Second - time.Microsecond)
		require.True(t, hold(&one))
		require.Equal(t, written, db.Stats().Writes, "more than half is left, so the store is not asked")
		for range 5 {
			now = now.Add(31 * time.Second)
			require.True(t, hold(&one))
			require.False(t, hold(&two))
		}
		now = now.Add(time.Minute - time.Microsecond)
		require.False(t, hold(&two))
		now = now.Add(time.Microsecond)
		require.True(t, hold(&two), "the first one has not gone on in time")
		require.False(t, hold(&one))
		two.Forget()
		require.True(t, hold(&two), "its own lease is still there")
	})
}

func TestHolder(t *testing.T) {
	testkit.EachEngine(t, migrations, "worklease", func(t *testing.T, db *sqldb.DB) {
		wanted := "one"
		if db.Dialect() == sqldb.SQLite {
			wanted = "embedded"
		}
		require.Equal(t, wanted, worklease.Holder(db, "one"))
	})
}
