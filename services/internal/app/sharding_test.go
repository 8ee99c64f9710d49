package app

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// notByInstance are the indexes that begin with something else than the instance: what they lead to is looked for in all instances at
// once. On a cluster each server has a part of such an index, and is asked for it. No index of what a request looks for is here, but those
// by an id that names no instance.
var notByInstance = map[string]string{
	"accounts.api_key_by_id":           "a key that is shown names no instance",
	"channel.channel_by_id":            "a channel's own calls name it by an id that cannot be guessed",
	"channel.bot_api_by_id":            "as with a channel",
	"channel.lane_pending":             "the deliveries that are due, by endpoint, whose id is of one instance",
	"channel.redelivery_lane_pending":  "the deliveries that are to be sent again, by endpoint",
	"channel.channel_unreaped":         "the deleted channels that are to be cleared away",
	"channel.bot_api_unreaped":         "the deleted integrations that are to be cleared away",
	"accounts.idempotency_expire_time": "the sweep of idempotency keys that have expired",
	"agent.idempotency_expire_time":    "the sweep of idempotency keys that have expired",
	"channel.idempotency_expire_time":  "the sweep of idempotency keys that have expired",
	"agent.search_text_grams":          "hashes of trigrams, which have the instance in them",
	"accounts.goose_db_version_pkey":   "the version of the schema",
	"agent.goose_db_version_pkey":      "the version of the schema",
	"channel.goose_db_version_pkey":    "the version of the schema",
	"contacts.goose_db_version_pkey":   "the version of the schema",
}

// indexesSQL lists the tables of the services with their indexes, and the first column of each.
const indexesSQL = `
SELECT n.nspname, t.relname, i.relname, x.indisprimary, coalesce(a.attname, '')
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
WHERE n.nspname = ANY ($1) AND t.relkind = 'r'`

// tablesSQL lists the tables of the services, and whether each has an instance as all have: a text that is compared byte by byte.
const tablesSQL = `
SELECT n.nspname || '.' || t.relname, coalesce(format_type(a.atttypid, a.atttypmod) || ' ' || c.collname || ' ' || a.attnotnull, 'none')
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN (pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation) ON a.attrelid = t.oid AND a.attname = 'instance'
WHERE n.nspname = ANY ($1) AND t.relkind IN ('r', 'p')`

// migrated is a database with the schemas of all services.
func migrated(t *testing.T) (conn *pgx.Conn, services []string) {
	t.Helper()
	url := testkit.Postgres(t)
	for service, files := range migrations {
		services = append(services, service)
		require.NoError(t, sqldb.Migrate(t.Context(), sqldb.Options{Service: service, DatabaseURL: url, Migrations: files}))
	}
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return conn, services
}

// tables are all but what is said of the schema itself, with their schema.
func tables(t *testing.T, conn *pgx.Conn, services []string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), tablesSQL, services)
	require.NoError(t, err)
	var names []string
	var name, instance string
	_, err = pgx.ForEachRow(rows, []any{&name, &instance}, func() error {
		if strings.HasSuffix(name, ".goose_db_version") || strings.HasSuffix(name, ".schema_program") {
			return nil
		}
		require.Equal(t, "text C true", instance, "%s: its column instance", name)
		names = append(names, name)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, services, 4)
	require.Greater(t, len(names), 40, "the tables of four services")
	slices.Sort(names)
	return names
}

func TestEveryKeyBeginsWithTheInstance(t *testing.T) {
	conn, services := migrated(t)
	rows, err := conn.Query(t.Context(), indexesSQL, services)
	require.NoError(t, err)
	keyed, others := make(map[string]bool), make(map[string]bool)
	var schema, table, index, first string
	var primary bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &table, &index, &primary, &first}, func() error {
		if primary {
			keyed[schema+"."+table] = true
		}
		if first != "instance" {
			others[schema+"."+index] = true
		}
		return nil
	})
	require.NoError(t, err)
	for _, name := range tables(t, conn, services) {
		require.True(t, keyed[name], "%s has no primary key", name)
	}
	for name := range others {
		require.Contains(t, notByInstance, name, "an index that does not begin with the instance")
	}
	for name := range notByInstance {
		require.True(t, others[name], "%s is no index, or begins with the instance", name)
	}

	var unique, foreign int
	require.NoError(t, conn.QueryRow(t.Context(), `
SELECT count(*) FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
WHERE n.nspname = ANY ($1) AND t.relname <> 'goose_db_version' AND x.indisunique AND a.attname <> 'instance'`, services).Scan(&unique))
	require.Zero(t, unique, "what is unique is so within an instance: no server can look at the others")
	require.NoError(t, conn.QueryRow(t.Context(), `
SELECT count(*) FROM pg_constraint f JOIN pg_namespace n ON n.oid = f.connamespace
WHERE n.nspname = ANY ($1) AND f.contype IN ('f', 'x') AND NOT EXISTS (
    SELECT 1 FROM unnest(f.conkey) AS k JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k WHERE a.attname = 'instance')`,
		services).Scan(&foreign))
	require.Zero(t, foreign, "a reference stays within an instance")
}

// citus stands for the functions of Citus that deploy/sharding.md calls. They refuse what Citus refuses, as far as the catalogue tells:
// a table without the column, one that is there twice, a partner that is not distributed, a key or unique index without the column, and
// numbers that several nodes cannot give.
const citus = `
CREATE TABLE placed (name TEXT PRIMARY KEY, kind TEXT NOT NULL);
CREATE FUNCTION create_distributed_table(table_name REGCLASS, distribution_column TEXT, distribution_type TEXT DEFAULT 'hash',
    colocate_with TEXT DEFAULT 'default') RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE place SMALLINT;
BEGIN
    SELECT attnum INTO STRICT place FROM pg_attribute WHERE attrelid = table_name AND attname = distribution_column;
    PERFORM 1 FROM pg_index WHERE indrelid = table_name AND indisunique AND NOT place = ANY (indkey::SMALLINT[]);
    IF FOUND THEN RAISE 'a unique index of % is without %', table_name, distribution_column; END IF;
    IF colocate_with <> 'none' AND colocate_with <> 'default' THEN
        PERFORM 1 FROM placed WHERE name = colocate_with::REGCLASS::TEXT AND kind = 'distributed';
        IF NOT FOUND THEN RAISE '% is not distributed yet', colocate_with; END IF;
    END IF;
    INSERT INTO placed VALUES (table_name::TEXT, 'distributed');
END $$;
CREATE FUNCTION create_reference_table(table_name REGCLASS) RETURNS VOID LANGUAGE sql AS
    'INSERT INTO placed VALUES (table_name::TEXT, ''reference'')';
CREATE FUNCTION citus_schema_distribute(schemaname REGNAMESPACE) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
    WHERE t.relnamespace = schemaname AND t.relkind = 'r' AND a.attidentity <> '' AND a.atttypid <> 'BIGINT'::REGTYPE;
    IF FOUND THEN RAISE 'an identity column in % is no BIGINT', schemaname; END IF;
    INSERT INTO placed SELECT oid::REGCLASS::TEXT, 'schema' FROM pg_class
    WHERE relnamespace = schemaname AND relkind = 'r' AND relname NOT IN ('goose_db_version', 'schema_program');
END $$;`

var sqlBlock = regexp.MustCompile("(?ms)^```sql\n(.*?)^```")

// What the document tells to run on a cluster names every table of the services once, and runs.
func TestShardingDocument(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/sharding.md")
	require.NoError(t, err)
	conn, services := migrated(t)
	// The accounts stay on one server.
	want := slices.DeleteFunc(tables(t, conn, services), func(name string) bool { return strings.HasPrefix(name, "accounts.") })
	_, err = conn.Exec(t.Context(), citus)
	require.NoError(t, err)

	ways := 0
	for _, block := range sqlBlock.FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(block[1], "create_distributed_table(") && !strings.Contains(block[1], "citus_schema_distribute(") {
			_, err := conn.Exec(t.Context(), block[1])
			require.NoError(t, err, block[1])
			continue
		}
		ways++
		_, err := conn.Exec(t.Context(), "TRUNCATE placed")
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), block[1])
		require.NoError(t, err, block[1])
		rows, err := conn.Query(t.Context(), "SELECT name, kind FROM placed")
		require.NoError(t, err)
		var placed []string
		var name, kind string
		_, err = pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
			placed = append(placed, name)
			if strings.HasSuffix(name, ".worker_lease") && kind == "distributed" {
				return fmt.Errorf("%s has rows of no instance", name)
			}
			return nil
		})
		require.NoError(t, err)
		slices.Sort(placed)
		require.Equal(t, want, placed, "every table has its place")
	}
	require.Equal(t, 2, ways, "by service, and by instance")

	for name, reason := range notByInstance {
		if _, index, _ := strings.Cut(name, "."); reason != "the version of the schema" {
			require.True(t, strings.Contains(string(text), "`"+index+"`"), "%s: the document tells of what is asked of all servers", index)
		}
	}
}
