package testkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// PostgresServer is a PostgreSQL server of one test's own, which the test may kill. What it has committed outlives that, though not the
// end of the machine.
type PostgresServer struct {
	// URL is an empty database on it, the same after every start.
	URL string

	port      int
	bin, data string
	account   account
	process   *serverProcess // nil while it does not run
}

// MortalPostgres starts a server that ends with the test. If PostgreSQL is not installed the test is skipped, and fails when CI=true.
func MortalPostgres(t testing.TB) *PostgresServer {
	t.Helper()
	s := &PostgresServer{bin: findBinaries()}
	if s.bin == "" {
		missing(t, "no PostgreSQL: install its server")
	}
	var err error
	s.account, err = chooseAccount()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "prosa-mortal-") // not t.TempDir: its parents are closed to the server's user
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Kill(t)
		require.NoError(t, os.RemoveAll(dir))
	})
	require.NoError(t, s.account.own(dir))
	s.data = filepath.Join(dir, "data")
	require.NoError(t, copyTemplate(s.bin, s.account, s.data))
	s.port, err = freePort()
	require.NoError(t, err)
	s.Start(t)
	s.URL = withDatabase(t, s.process.url(), "prosa")
	administer(t, s.process.url(), "CREATE DATABASE prosa")
	return s
}

// Start starts the server with what it has on disk, and returns when it takes connections.
func (s *PostgresServer) Start(t testing.TB) {
	t.Helper()
	require.Nil(t, s.process, "it runs already")
	process, err := startOn(s.port, s.bin, s.data, s.account, "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
	require.NoError(t, err)
	s.process = process
}

// Kill ends the server at once (PostgreSQL's immediate shutdown): connections are cut wherever they are, nothing is written any more, and
// the next start recovers from the log. It may be killed twice.
func (s *PostgresServer) Kill(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	require.NoError(t, s.process.stop())
	s.process = nil
}
