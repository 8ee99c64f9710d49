package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/backup"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// schema is the schema of the test's stores at a version.
func schema(versions ...string) fs.FS {
	files := fstest.MapFS{}
	for _, version := range versions {
		table := "item"
		if version != "00001" {
			table = "item" + version
		}
		file := &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE " + table + " (n BIGINT PRIMARY KEY);\n-- +goose Down\nDROP TABLE " + table + ";\n")}
		files["sqlite/"+version+"_item.sql"], files["postgres/"+version+"_item.sql"] = file, file
	}
	return files
}

func options(dir, service string) sqldb.Options {
	return sqldb.Options{Service: service, DataDir: dir, Migrations: schema("00001"), Clock: clock.System()}
}

func open(t *testing.T, dir, service string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), options(dir, service))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() }) // a test that looks at it closes it itself
	return db
}

func insert(ctx context.Context, db *sqldb.DB, n int) error {
	_, err := db.Exec1(ctx, `INSERT INTO item (n) VALUES ($1) ON CONFLICT (n) DO NOTHING`, n)
	return err
}

func newest(t *testing.T, db *sqldb.DB) (count, last int) {
	t.Helper()
	require.NoError(t, db.Reader().QueryRowContext(t.Context(), `SELECT count(*), coalesce(max(n), 0) FROM item`).Scan(&count, &last))
	return count, last
}

func source(dir string) backup.Source {
	return backup.Source{DataDir: dir, Stores: []string{"upper", "lower"}, Keys: []string{"secret.key", "root.key"}, Version: "v1"}
}

func target(dir string) backup.Target {
	return backup.Target{
		DataDir: dir, Keys: []string{"secret.key", "root.key"},
		Stores: []sqldb.Options{options(dir, "upper"), options(dir, "lower")},
	}
}

// filled is a data folder with two stores of n items, and a key.
func filled(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for _, service := range []string{"upper", "lower"} {
		db := open(t, dir, service)
		for i := range n {
			require.NoError(t, insert(t.Context(), db, i+1))
		}
		require.NoError(t, db.Close())
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret.key"), []byte("key of "+dir), 0o600))
	return dir
}

func backupOf(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "prosa.tar")
	require.NoError(t, backup.Create(t.Context(), source(dir), noon, file))
	return file
}

func TestACopyOfStoresInUseForgetsNothingThatWasPassedOn(t *testing.T) {
	dir := t.TempDir()
	upper, lower := open(t, dir, "upper"), open(t, dir, "lower")
	ctx, stop := context.WithCancel(t.Context())
	passed, ended := make(chan int, 1<<20), make(chan error, 1)
	go func() {
		var err error
		for n := 1; ctx.Err() == nil && err == nil; n++ {
			// The upper store has it before the lower does: in a copy the lower one must have whatever the upper has passed on before.
			if err = insert(ctx, upper, n); err == nil {
				err = insert(ctx, lower, n)
			}
			if err == nil {
				passed <- n
			}
		}
		ended <- err
	}()
	for range 500 {
		<-passed
	}
	file := backupOf(t, dir)
	stop()
	if err := <-ended; err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing else is left")

	restored := t.TempDir()
	done, err := backup.Restore(t.Context(), file, target(restored), noon)
	require.NoError(t, err)
	require.Equal(t, backup.Restored{CreateTime: noon, Version: "v1"}, done)
	upperCount, upperLast := newest(t, open(t, restored, "upper"))
	lowerCount, lowerLast := newest(t, open(t, restored, "lower"))
	require.GreaterOrEqual(t, upperCount, 500, "what was there before is in it")
	require.Equal(t, upperLast, upperCount, "it is of one moment")
	require.Equal(t, lowerLast, lowerCount)
	require.GreaterOrEqual(t, lowerLast, upperLast-1, "only what was on its way may be missing")
}

func TestStoresThatAreThereAreMovedAsideWhenAsked(t *testing.T) {
	file := backupOf(t, filled(t, 3))
	dir := filled(t, 5)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "erasures.log"), []byte("kept"), 0o600))
	_, err := backup.Restore(t.Context(), file, target(dir), noon)
	require.ErrorIs(t, err, backup.ErrNotEmpty)
	count, _ := newest(t, open(t, dir, "upper"))
	require.Equal(t, 5, count, "nothing has changed")
	_, err = backup.Restore(t.Context(), file, withReplace(target(dir)), noon)
	require.ErrorIs(t, err, sqldb.ErrLocked, "it is in use")

	dir = filled(t, 5)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "erasures.log"), []byte("kept"), 0o600))
	done, err := backup.Restore(t.Context(), file, withReplace(target(dir)), noon)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "before-restore-20260301T120000Z"), done.Aside)
	count, _ = newest(t, open(t, dir, "upper"))
	require.Equal(t, 3, count)
	count, _ = newest(t, open(t, done.Aside, "lower"))
	require.Equal(t, 5, count)
	key, err := os.ReadFile(filepath.Join(dir, "secret.key"))
	require.NoError(t, err)
	require.NotContains(t, string(key), dir, "the stores are sealed with the key that came with them")
	kept, err := os.ReadFile(filepath.Join(dir, "erasures.log"))
	require.NoError(t, err)
	require.Equal(t, "kept", string(kept))
	require.NoError(t, backup.Check(dir))
}

func withReplace(t backup.Target) backup.Target {
	t.Replace = true
	return t
}

func TestARestoreThatWasInterruptedIsSeenAndRunAgain(t *testing.T) {
	file, dir := backupOf(t, filled(t, 3)), filled(t, 5)
	// As after a kill between two files.
	require.NoError(t, os.Mkdir(filepath.Join(dir, "restoring"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "restoring", "lower.db"), []byte("x"), 0o600))
	require.ErrorIs(t, backup.Check(dir), backup.ErrInterrupted)
	_, err := backup.Restore(t.Context(), file, target(dir), noon)
	require.NoError(t, err, "stores that are there are of that restore")
	require.NoError(t, backup.Check(dir))
	count, _ := newest(t, open(t, dir, "lower"))
	require.Equal(t, 3, count)
}

func TestWhatIsNoBackupChangesNothing(t *testing.T) {
	whole, err := os.ReadFile(backupOf(t, filled(t, 3)))
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"empty":         nil,
		"no archive":    bytes.Repeat([]byte("x"), 2048),
		"cut":           whole[:len(whole)/2],
		"a bit flipped": flipped(whole),
		"other file":    rewritten(t, whole, func(h *tar.Header, body []byte) []byte { return renamed(h, "lower.db", "other.db", body) }),
		"way out":       rewritten(t, whole, func(h *tar.Header, body []byte) []byte { return renamed(h, "lower.db", "../lower.db", body) }),
		"no lower":      rewritten(t, whole, func(h *tar.Header, body []byte) []byte { return renamed(h, "lower.db", "", body) }),
		"newer format": rewritten(t, whole, func(_ *tar.Header, body []byte) []byte {
			return bytes.Replace(body, []byte(`"format": 1`), []byte(`"format": 2`), 1)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			file, dir := filepath.Join(t.TempDir(), "prosa.tar"), t.TempDir()
			require.NoError(t, os.WriteFile(file, content, 0o600))
			_, err := backup.Restore(t.Context(), file, target(dir), noon)
			require.Error(t, err)
			for _, store := range []string{"upper", "lower"} {
				require.NoFileExists(t, filepath.Join(dir, store+".db"))
			}
			require.NoError(t, backup.Check(dir))
		})
	}
}

func TestABackupOfANewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	newer := func(oldest string) {
		for _, service := range []string{"upper", "lower"} {
			o := options(dir, service)
			o.Migrations = schema("00001", "00002")
			db, err := sqldb.Open(t.Context(), o)
			require.NoError(t, err)
			_, err = db.Exec1(t.Context(), "UPDATE schema_program SET oldest = "+oldest) // as a migration does
			require.NoError(t, errors.Join(err, db.Close()))
		}
	}
	newer("1")
	_, err := backup.Restore(t.Context(), backupOf(t, dir), target(t.TempDir()), noon)
	require.NoError(t, err, "this program can work on it")
	newer("2")
	_, err = backup.Restore(t.Context(), backupOf(t, dir), target(t.TempDir()), noon)
	require.ErrorIs(t, err, sqldb.ErrSchemaNew)
}

func TestABackupReplacesNoFile(t *testing.T) {
	dir, file := filled(t, 1), filepath.Join(t.TempDir(), "prosa.tar")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	require.Error(t, backup.Create(t.Context(), source(dir), noon, file))
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(kept))
	require.ErrorIs(t, backup.Create(t.Context(), source(t.TempDir()), noon, filepath.Join(t.TempDir(), "prosa.tar")), fs.ErrNotExist)
}

// flipped changes one bit of the first store.
func flipped(archive []byte) []byte {
	changed := bytes.Clone(archive)
	changed[bytes.Index(changed, []byte("SQLite format 3"))+5000] ^= 1
	return changed
}

func renamed(h *tar.Header, from, to string, body []byte) []byte {
	if h.Name == from {
		h.Name = to
	}
	return body
}

// rewritten changes the entries of an archive; one that gets no name is left out.
func rewritten(t *testing.T, archive []byte, change func(h *tar.Header, body []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		body = change(h, body)
		if h.Name == "" {
			continue
		}
		h.Size = int64(len(body))
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(body)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}
