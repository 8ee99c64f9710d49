package testkit_test

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func migrations() fstest.MapFS {
	file := &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY);")}
	return fstest.MapFS{"sqlite/00001_t.sql": file, "postgres/00001_t.sql": file}
}

func TestEachEngineRunsOnBothWithNewStores(t *testing.T) {
	ctx := context.Background()
	for range 2 {
		var ran []sqldb.Dialect
		testkit.EachEngine(t, migrations(), "testkit", func(t *testing.T, db *sqldb.DB) {
			ran = append(ran, db.Dialect())
			_, err := db.Exec1(ctx, "INSERT INTO t (id) VALUES ($1)", 1)
			require.NoError(t, err, "nothing is left of the time before")
		})
		require.Contains(t, ran, sqldb.SQLite)
	}
}

func TestPostgresIsGoneAfterTheTest(t *testing.T) {
	ctx := context.Background()
	var url string
	t.Run("database", func(t *testing.T) {
		url = testkit.Postgres(t)
		conn, err := pgx.Connect(ctx, url)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "CREATE TABLE t (id BIGINT)")
		require.NoError(t, err)
		require.NoError(t, conn.Close(ctx))
	})
	if url == "" {
		t.Skip("no PostgreSQL")
	}
	_, err := pgx.Connect(ctx, url)
	require.ErrorContains(t, err, "does not exist")
}

func TestServerOfTheEnvironmentIsUsed(t *testing.T) {
	url := testkit.Postgres(t)
	t.Setenv(testkit.URLVariable, url+"&application_name=given")
	require.Contains(t, testkit.Postgres(t), "application_name=given")
}
