package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// The binaries of three releases. present is what is in this repository. next
// adds to every store a table, two columns of a table into which everybody
// writes, and an index on it. later takes the table away again, so that
// present cannot go on.
var present, next, later string

func TestMain(m *testing.M) {
	code := 1
	if remove, err := buildAll(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = testkit.Run(m)
		remove()
	}
	os.Exit(code)
}

// grown is, for each service, the table that grows.
var grown = map[string]string{"accounts": "api_key", "contacts": "attendance", "agent": "turn", "channel": "delivery"}

// step is a migration; its text has the service for %[1]s, the table that
// grows for %[2]s, and the number of the migration before for %[3]d.
type step struct{ name, sqlite, postgres string }

const added = `-- +goose Up
CREATE TABLE next_%[1]s (instance TEXT NOT NULL, id BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (instance, id));
ALTER TABLE %[2]s ADD COLUMN next_note TEXT;
ALTER TABLE %[2]s ADD COLUMN next_count INTEGER NOT NULL DEFAULT 0;
`

const removed = `-- +goose Up
DROP TABLE next_%[1]s;
UPDATE schema_program SET oldest = %[3]d;
`

var steps = []step{
	{name: "next", sqlite: added, postgres: added},
	{
		name: "next_index",
		sqlite: `-- +goose Up
CREATE INDEX next_by_note ON %[2]s (instance, next_note);
`,
		postgres: `-- +goose NO TRANSACTION
-- +goose Up
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS next_by_note;
CREATE INDEX CONCURRENTLY next_by_note ON %[2]s (instance, next_note);
RESET lock_timeout;
`,
	},
	{
		name: "later",
		// It takes long enough to be killed in the middle, and then fills more than the page cache.
		sqlite: `-- +goose Up
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
INSERT INTO next_%[1]s (instance, id, text) SELECT 'long', i, hex(zeroblob(40)) FROM n WHERE '%[1]s' = 'accounts';
` + removed[len("-- +goose Up\n"):],
		postgres: removed,
	},
}

// buildAll makes the three binaries.
func buildAll(ctx context.Context) (remove func(), err error) {
	folder, err := os.MkdirTemp("", "prosa-upgrade-")
	if err != nil {
		return nil, err
	}
	removes := []func(){func() { _ = os.RemoveAll(folder) }} // a temporary folder left behind does no harm
	remove = func() {
		for _, one := range removes {
			one()
		}
	}
	for _, release := range []struct {
		binary *string
		steps  []step
	}{{&present, nil}, {&next, steps[:2]}, {&later, steps}} {
		overlay, err := overlayOf(folder, release.steps)
		if err != nil {
			remove()
			return nil, err
		}
		path, one, err := harness.Build(ctx, "-overlay="+overlay)
		if err != nil {
			remove()
			return nil, err
		}
		*release.binary, removes = path, append(removes, one)
	}
	return remove, nil
}

// overlayOf writes migrations that follow those of each store, and the file by
// which the compiler finds them there. They keep to the rules for migrations.
func overlayOf(folder string, steps []step) (path string, err error) {
	replaced := map[string]string{}
	for service, table := range grown {
		home, err := filepath.Abs(filepath.Join("../..", service, "internal/store/migrations"))
		if err != nil {
			return "", err
		}
		all := fstest.MapFS{}
		for _, dialect := range []string{"sqlite", "postgres"} {
			present, err := filepath.Glob(filepath.Join(home, dialect, "*.sql"))
			if err != nil {
				return "", err
			}
			for _, file := range present {
				text, err := os.ReadFile(file)
				if err != nil {
					return "", err
				}
				all[dialect+"/"+filepath.Base(file)] = &fstest.MapFile{Data: text}
			}
			for i, step := range steps {
				number := len(present) + i + 1
				name := fmt.Sprintf("%05d_%s.sql", number, step.name)
				text := step.sqlite
				if dialect == "postgres" {
					text = step.postgres
				}
				text = fmt.Sprintf(text+"-- %[1]s %[2]s %[3]d\n", service, table, number-1)
				all[dialect+"/"+name] = &fstest.MapFile{Data: []byte(text)}
				file := filepath.Join(folder, service+"-"+dialect+"-"+name)
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					return "", err
				}
				replaced[filepath.Join(home, dialect, name)] = file
			}
		}
		if err := sqldb.CheckMigrations(all); err != nil {
			return "", fmt.Errorf("migrations of %s: %w", service, err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	path = filepath.Join(folder, fmt.Sprintf("overlay-%d.json", len(steps)))
	return path, os.WriteFile(path, text, 0o600)
}
