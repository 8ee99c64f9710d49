package testkit

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// URLVariable is the environment variable with the URL of a PostgreSQL server on which tests may make and drop databases. Without it
// each test process starts a private server.
const URLVariable = "PROSA_TEST_POSTGRES_URL"

// LogVariable is the environment variable with a directory that the server's user may write to. A private server then logs there
// every statement that it gets, for whoever wants to know what the stores ask of it.
const LogVariable = "PROSA_TEST_POSTGRES_LOG"

const databaseTimeout = 30 * time.Second

var databases atomic.Int64

// Postgres makes an empty database and returns its URL (over TCP); the database is dropped after the test. If there is neither
// URLVariable nor an installed PostgreSQL the test is skipped, and fails when CI=true.
func Postgres(t testing.TB) string {
	t.Helper()
	server, strategy := os.Getenv(URLVariable), ""
	if server == "" {
		bin := findBinaries()
		if bin == "" {
			missing(t, "no PostgreSQL: set "+URLVariable+", or install its server")
		}
		started, err := startServer(bin)
		require.NoError(t, err, "start a private PostgreSQL server")
		// Four times as fast as the default on a server that syncs nothing.
		server, strategy = started, " STRATEGY file_copy"
	}
	name := fmt.Sprintf("prosa_test_%d_%d", os.Getpid(), databases.Add(1))
	administer(t, server, "CREATE DATABASE "+name+strategy)
	t.Cleanup(func() { administer(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	return withDatabase(t, server, name)
}

// missing skips a test for which a server is not installed, and fails it when CI=true.
func missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		require.FailNow(t, reason)
	}
	t.Skip(reason)
}

func administer(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, statement)
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))
}

// withDatabase is the URL of another database of the same server.
func withDatabase(t testing.TB, server, name string) string {
	t.Helper()
	require.True(t, strings.HasPrefix(server, "postgres://") || strings.HasPrefix(server, "postgresql://"),
		"%s must be a URL, not a list of keywords", URLVariable)
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}
