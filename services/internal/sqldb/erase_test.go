package sqldb_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

var eraseMigrations = func() fstest.MapFS {
	steps := fstest.MapFS{}
	for dialect, blob := range map[string]string{"sqlite": "BLOB", "postgres": "BYTEA"} {
		steps[dialect+"/00001_said.sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
CREATE TABLE said (instance TEXT NOT NULL, id TEXT NOT NULL, who TEXT NOT NULL, words ` + blob + ` NOT NULL, PRIMARY KEY (instance, id));
CREATE INDEX said_by_who ON said (instance, who);
-- +goose Down
DROP TABLE said;
`)}
	}
	return steps
}()

// filesHave says how often the files of a folder have a text.
func filesHave(t *testing.T, folder, text string) (n int) {
	t.Helper()
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(folder, file.Name()))
		require.NoError(t, err)
		n += bytes.Count(content, []byte(text))
	}
	return n
}

// TestScrub changes and deletes rows of all lengths in every way, so that pages split, move, overflow and become free, and looks for
// what was erased in the bytes of all files.
func TestScrub(t *testing.T) {
	testkit.EachEngineOptions(t, eraseMigrations, "scrub", func(t *testing.T, options sqldb.Options) {
		db := testkit.Open(t, options)
		ctx := t.Context()
		const people, each = 20, 40
		random := rand.New(rand.NewPCG(7, 7))
		words := func(who int) []byte {
			return []byte(strings.Repeat(fmt.Sprintf("secret-of-%02d ", who), []int{1, 3, 30, 300, 900, 2500}[random.IntN(6)]))
		}
		kept := make(map[string][]byte)
		id := func() string { return fmt.Sprintf("%016x", random.Uint64()) }
		for range each {
			for who := range people {
				name, said := id(), words(who)
				_, err := db.Exec1(ctx, "INSERT INTO said (instance, id, who, words) VALUES ('acme', $1, $2, $3)", name, fmt.Sprintf("person-%02d", who), said)
				require.NoError(t, err)
				if who != 7 {
					kept[name] = said
				}
				if random.IntN(2) == 0 {
					said = words(who)
					_, err := db.Exec1(ctx, "UPDATE said SET words = $2 WHERE instance = 'acme' AND id = $1", name, said)
					require.NoError(t, err)
					if who != 7 {
						kept[name] = said
					}
				}
			}
		}
		// Some were deleted carelessly before.
		_, err := db.Exec1(ctx, "DELETE FROM said WHERE instance = 'acme' AND who = 'person-07' AND id < '8'")
		require.NoError(t, err)
		require.NoError(t, db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM said WHERE instance = 'acme' AND who = 'person-07'")
			return err
		}))
		sqlite := db.Dialect() == sqldb.SQLite
		if sqlite {
			require.Positive(t, filesHave(t, options.DataDir, "secret-of-07"), "without scrubbing something is left, else this test shows nothing")
		}
		require.NoError(t, db.Scrub(ctx))
		if sqlite {
			require.Zero(t, filesHave(t, options.DataDir, "secret-of-07"))
			require.Zero(t, filesHave(t, options.DataDir, "person-07"))
			var verdict string
			require.NoError(t, db.Reader().QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict))
			require.Equal(t, "ok", verdict)
		}
		for range 3 { // the store is used as before
			name, said := id(), words(3)
			_, err := db.Exec1(ctx, "INSERT INTO said (instance, id, who, words) VALUES ('acme', $1, 'person-03', $2)", name, said)
			require.NoError(t, err)
			kept[name] = said
		}
		require.NoError(t, db.Scrub(ctx), "again")
		rows, err := db.Reader().QueryContext(ctx, "SELECT id, words FROM said WHERE instance = 'acme'")
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		found := 0
		for rows.Next() {
			var name string
			var said []byte
			require.NoError(t, rows.Scan(&name, &said))
			require.Equal(t, kept[name], said)
			found++
		}
		require.NoError(t, rows.Err())
		require.Equal(t, len(kept), found)
	})
}

// TestScrubWaitsForReaders does not say that the log is empty while somebody reads in it.
func TestScrubWaitsForReaders(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, eraseMigrations, "scrub")
	db := testkit.Open(t, options)
	ctx := t.Context()
	insert := "INSERT INTO said (instance, id, who, words) VALUES ('acme', $1, 'ana', 'x')"
	for _, id := range []string{"1", "2"} {
		_, err := db.Exec1(ctx, insert, id)
		require.NoError(t, err)
	}
	rows, err := db.Reader().QueryContext(ctx, "SELECT id FROM said WHERE instance = 'acme' ORDER BY id")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Err()) }()
	defer func() { require.NoError(t, rows.Close()) }()
	require.True(t, rows.Next())
	_, err = db.Exec1(ctx, "DELETE FROM said WHERE instance = 'acme'")
	require.NoError(t, err)

	done := make(chan error, 1)
	go func() { done <- db.Scrub(ctx) }()
	for range 20 { // the writer is not held up by it
		_, err := db.Exec1(ctx, "UPDATE said SET words = 'y' WHERE instance = 'acme'")
		require.NoError(t, err)
	}
	select {
	case err := <-done:
		require.Fail(t, "ended although somebody reads", "%v", err)
	default:
	}
	require.NoError(t, rows.Close()) //nolint:sqlclosecheck // in the middle, so that the log can be emptied
	require.NoError(t, <-done)
	info, err := os.Stat(filepath.Join(options.DataDir, "scrub.db-wal"))
	require.NoError(t, err)
	require.Zero(t, info.Size())
}
