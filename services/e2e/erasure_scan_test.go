package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver with which databases are read
	"github.com/stretchr/testify/require"
)

// traces says where the stores of a process have something that was planted:
// file or table, and what. It knows no table by name, so one that is added later
// is looked through too. The stores may be in use.
func traces(ctx context.Context, t *testing.T, settings map[string]string, planted []string) []string {
	t.Helper()
	found := tracesInFiles(t, settings["data-dir"], planted)
	if url := settings["database-url"]; url != "" {
		found = append(found, tracesInTables(ctx, t, url, planted)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// has gives what of the planted a content has, in any case, as text or, where a
// database writes bytes so, in hexadecimal digits.
func has(content []byte, planted []string) (found []string) {
	content = bytes.ToLower(content)
	for _, text := range planted {
		lower := strings.ToLower(text)
		for _, form := range []string{lower, hex.EncodeToString([]byte(text)), hex.EncodeToString([]byte(lower))} {
			if bytes.Contains(content, []byte(form)) {
				found = append(found, text)
				break
			}
		}
	}
	return found
}

// tracesInFiles looks through every byte of a folder: tables, indexes, what is
// free in them, write-ahead logs, and whatever else there is.
func tracesInFiles(t *testing.T, folder string, planted []string) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, text := range has(content, planted) {
			found = append(found, entry.Name()+" has "+text)
		}
		return nil
	}))
	return found
}

// tracesInTables looks through every column of every row of every table.
func tracesInTables(ctx context.Context, t *testing.T, url string, planted []string) (found []string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	tables := texts(ctx, t, db, `
SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'`)
	require.Greater(t, len(tables), 20)
	for _, table := range tables {
		for _, row := range texts(ctx, t, db, `SELECT r::text FROM `+table+` AS r`) {
			for _, text := range has([]byte(row), planted) {
				found = append(found, fmt.Sprintf("%s has %s", table, text))
			}
		}
	}
	return found
}

func texts(ctx context.Context, t *testing.T, db *sql.DB, query string) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(ctx, query)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		all = append(all, text)
	}
	require.NoError(t, rows.Err())
	return all
}
