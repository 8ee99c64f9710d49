package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// looked counts the rows that SQLite looks at, by a function in the condition, which is called for each of them. It is put before the
// conditions that no index serves, so that rows that they turn away are counted.
var looked atomic.Int64

func init() {
	err := sqlite.RegisterScalarFunction("looked_at", 1, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		looked.Add(1)
		return int64(1), nil
	})
	if err != nil {
		panic(err)
	}
}

const (
	rowsPage = 100
	// rowsAllowed is what a page of 100 may read, one more than it gives among them: whether there is a next page.
	rowsAllowed = 110
)

// rowsStored are enough for PostgreSQL to find an index cheaper than to read all.
func rowsStored(s *Store) int64 {
	if s.db.Dialect() == sqldb.Postgres {
		return 12_000
	}
	return 1_200
}

// rowsRead is how many rows a query reads of a table in which every row is looked up by a number.
func rowsRead(t *testing.T, s *Store, table, alias, query string, args []any) int64 {
	t.Helper()
	if s.db.Dialect() == sqldb.Postgres {
		return postgresRowsRead(t, s, table, query, args)
	}
	where := ` WHERE ` + alias + `.instance = $1`
	require.Contains(t, query, where)
	looked.Store(0)
	counted := strings.Replace(query, where, where+` AND looked_at(`+alias+`.id)`, 1)
	rows, err := s.db.Reader().QueryContext(t.Context(), counted, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		continue
	}
	require.NoError(t, rows.Err())
	return looked.Load()
}

// planNode is a step of a plan of PostgreSQL.
type planNode struct {
	NodeType  string  `json:"Node Type"`
	Relation  string  `json:"Relation Name"`
	Index     string  `json:"Index Name"`
	IndexCond string  `json:"Index Cond"`
	Rows      float64 `json:"Actual Rows"`
	Loops     float64 `json:"Actual Loops"`
	Filtered  float64 `json:"Rows Removed by Filter"`
	Rechecked float64 `json:"Rows Removed by Index Recheck"`
	Plans     []planNode
}

func postgresRowsRead(t *testing.T, s *Store, table, query string, args []any) int64 {
	t.Helper()
	var text string
	require.NoError(t, s.db.Reader().QueryRowContext(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+query, args...).Scan(&text))
	var plans []struct{ Plan planNode }
	require.NoError(t, json.Unmarshal([]byte(text), &plans))
	total, visited := 0.0, false
	var visit func(n planNode)
	visit = func(n planNode) {
		if n.Relation == table {
			visited = true
			total += (n.Rows + n.Filtered + n.Rechecked) * n.Loops
			if n.Rows > 1 { // conditions on columns behind those that bound the index turn entries away that no counter shows
				require.NotContains(t, n.IndexCond, "time", "%s\n%s", query, text)
			}
			require.NotContains(t, n.NodeType, "Seq Scan", "%s\n%s", query, text)
		}
		for _, inner := range n.Plans {
			visit(inner)
		}
	}
	visit(plans[0].Plan)
	require.True(t, visited, text)
	return int64(total + 0.5)
}

// storeMany makes attendances and events as they are in instances that live long: one agent and one source have most of them, a few
// persons have hundreds, a third came over from another system after the beginning, so that their days are before those of lower numbers,
// and a part of those in no order at all.
func storeMany(t *testing.T, db *sqldb.DB) {
	t.Helper()
	n := rowsStored(New(db))
	numbers := fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT i + 1 FROM n WHERE i < %d) `, n)
	when := fmt.Sprintf(`CASE WHEN i BETWEEN %[1]d / 4 AND %[1]d / 2 THEN i WHEN i BETWEEN %[1]d / 2 AND %[1]d * 6 / 10 THEN i * 7919 %% %[1]d
		ELSE %[1]d + i END * 60000000`, n)
	assistant := `CASE WHEN i % 100 = 0 THEN 3 WHEN i % 5 = 0 THEN 2 ELSE 1 END`
	require.NoError(t, db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		for _, statement := range []string{
			numbers + `INSERT INTO attendance
				(instance, id, interaction_id, contact_id, identifier, assistant_id, source, external_id, create_time)
				SELECT 'acme', i, CAST(i AS TEXT), CASE WHEN i % 3 = 0 THEN 'heavy' ELSE 'c' || CAST(i % 700 AS TEXT) END,
				CASE WHEN i % 3 = 0 THEN 'heavy' ELSE 'c' || CAST(i % 700 AS TEXT) END, ` + assistant + `,
				CASE WHEN i % 150 = 0 THEN 'rare' WHEN i % 4 = 0 THEN 'api' ELSE 'widget' END, 'x' || CAST(i AS TEXT), ` + when + ` FROM n`,
			`INSERT INTO progress (instance, attendance_id, interactions, history_bytes) SELECT instance, id, 1, 1 FROM attendance`,
			`INSERT INTO contact (instance, id, identifier, create_time) SELECT DISTINCT instance, contact_id, identifier, 1 FROM attendance`,
			// Twenty persons share a phone, heavy and one more a number.
			`INSERT INTO contact_attribute (instance, contact_id, name, value, lookup)
				SELECT instance, id, 'phone', '1', '1' FROM contact WHERE id = 'heavy' OR id LIKE 'c1_'`,
			`INSERT INTO contact_attribute (instance, contact_id, name, value, lookup)
				SELECT instance, id, 'cpf', '1', '1' FROM contact WHERE id = 'heavy' OR id = 'c1'`,
			`INSERT INTO event_type (instance, id, name) VALUES ('acme', 1, 'often'), ('acme', 2, 'seldom')`,
			numbers + `INSERT INTO event (instance, id, attendance_id, assistant_id, type_id, external_id, details, time)
				SELECT 'acme', i, CASE WHEN i % 3 = 0 THEN 6 ELSE i END, ` + assistant + `, CASE WHEN i % 150 = 0 THEN 2 ELSE 1 END,
				CASE WHEN i % 6 = 0 THEN 'same' ELSE 'x' || CAST(i AS TEXT) END, '{}', ` + when + ` FROM n`,
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

// A page of 100 reads at most 110 rows, for every combination of filters: what does not lie in one piece in an index is picked by its
// numbers. So it does all along a walk.
func TestRowsRead(t *testing.T) {
	for _, dialect := range []sqldb.Dialect{sqldb.SQLite, sqldb.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			db := testkit.Open(t, testkit.Options(t, dialect, Migrations(), "contacts"))
			s := New(db)
			storeMany(t, db)
			_, err := db.Exec1(t.Context(), `ANALYZE`) // as PostgreSQL does by itself
			require.NoError(t, err)
			t.Run("attendances", func(t *testing.T) { attendanceRowsRead(t, s) })
			t.Run("events", func(t *testing.T) { eventRowsRead(t, s) })
		})
	}
}

func attendanceRowsRead(t *testing.T, s *Store) {
	choices := []func(*Filter){
		func(f *Filter) { f.ID = new(int64); *f.ID = rowsStored(s) * 3 / 4 },
		func(f *Filter) { f.AssistantID = new(int64); *f.AssistantID = 1 },
		func(f *Filter) { f.AssistantID = new(int64); *f.AssistantID = 3 },
		func(f *Filter) { f.Source = new(string); *f.Source = "widget" },
		func(f *Filter) { f.Source = new(string); *f.Source = "rare" },
		func(f *Filter) { f.ExternalID = new(string); *f.ExternalID = fmt.Sprint("x", rowsStored(s)*3/4) },
		func(f *Filter) { f.From = new(rowsStored(s) / 3 * 60_000_000) },
		func(f *Filter) { f.Until = new(rowsStored(s) * 19 / 10 * 60_000_000) },
		func(f *Filter) { f.Contacts = []string{"heavy"} },
		func(f *Filter) { f.Contacts = []string{"heavy", "c1", "c10"} },
		func(f *Filter) { f.People = &People{Attributes: []Lookup{{"phone", "1"}}} },
		func(f *Filter) { f.People = &People{Attributes: []Lookup{{"cpf", "1"}, {"phone", "1"}}} },
	}
	full := 0
	for set := range 1 << len(choices) {
		if set&0b110 == 0b110 || set&0b11000 == 0b11000 || bits.OnesCount(uint(set)>>8) > 1 {
			continue // two of the same
		}
		f := Filter{Instance: "acme", Low: 1, High: rowsStored(s)}
		for n, choose := range choices {
			if set&(1<<n) != 0 {
				choose(&f)
			}
		}
		numbers, err := s.Select(t.Context(), f)
		require.NoError(t, err)
		extent, err := s.Measure(t.Context(), f)
		require.NoError(t, err)
		require.Equal(t, int64(len(numbers)), extent.Count, "%+v", f)
		if len(numbers) == 0 {
			continue
		}
		contiguous := f.Contiguous() || f.OnlyDays() && extent.High-extent.Low+1 == extent.Count
		for _, end := range []int{len(numbers), len(numbers) / 2} { // the first page, and one in the middle of the walk
			if end == 0 {
				continue
			}
			f.Low, f.High, f.Numbers = extent.Low, numbers[end-1], nil
			if !contiguous {
				f.Numbers = numbers[max(0, end-rowsPage-1):end]
			}
			query, args := s.pageQuery(f, rowsPage+1)
			require.LessOrEqual(t, rowsRead(t, s, "attendance", "attendance", query, args), int64(rowsAllowed), "%+v\n%s", f, query)
			page, err := s.Page(t.Context(), f, rowsPage+1)
			require.NoError(t, err)
			require.Len(t, page, min(end, rowsPage+1))
			for i, a := range page {
				require.Equal(t, numbers[end-1-i], a.ID, "%+v", f)
			}
			if len(page) > rowsPage {
				full++
			}
		}
	}
	require.Greater(t, full, 100, "there are pages to count")
}

func eventRowsRead(t *testing.T, s *Store) {
	choices := []func(*EventFilter){
		func(f *EventFilter) { f.AssistantID = new(int64); *f.AssistantID = 1 },
		func(f *EventFilter) { f.AssistantID = new(int64); *f.AssistantID = 3 },
		func(f *EventFilter) { f.AttendanceID = new(int64); *f.AttendanceID = 6 },
		func(f *EventFilter) { f.ExternalID = new(string); *f.ExternalID = "same" },
		func(f *EventFilter) { f.Name = new(string); *f.Name = "often" },
		func(f *EventFilter) { f.Name = new(string); *f.Name = "seldom" },
		func(f *EventFilter) { f.Identifier = new(string); *f.Identifier = "heavy" },
		func(f *EventFilter) { f.From = new(rowsStored(s) / 3 * 60_000_000) },
		func(f *EventFilter) { f.Until = new(rowsStored(s) * 19 / 10 * 60_000_000) },
	}
	full := 0
	for set := range 1 << len(choices) {
		if set&0b11 == 0b11 || set&0b110000 == 0b110000 {
			continue // two of the same
		}
		f := EventFilter{Instance: "acme", Low: 1, High: rowsStored(s)}
		for n, choose := range choices {
			if set&(1<<n) != 0 {
				choose(&f)
			}
		}
		numbers, err := s.SelectEvents(t.Context(), f)
		require.NoError(t, err)
		extent, err := s.MeasureEvents(t.Context(), f)
		require.NoError(t, err)
		require.Equal(t, int64(len(numbers)), extent.Count, "%+v", f)
		if len(numbers) == 0 {
			continue
		}
		contiguous := f.Contiguous() || f.OnlyTimes() && extent.High-extent.Low+1 == extent.Count
		for _, ascending := range []bool{false, true} {
			f.Low, f.High, f.Numbers = extent.Low, extent.High, nil
			wanted := numbers[max(0, len(numbers)-rowsPage-1):]
			if ascending {
				wanted = numbers[:min(len(numbers), rowsPage+1)]
			}
			if !contiguous {
				f.Numbers = wanted
			}
			query, args := s.eventPageQuery(f, ascending, rowsPage+1)
			require.LessOrEqual(t, rowsRead(t, s, "event", "e", query, args), int64(rowsAllowed), "%+v\n%s", f, query)
			page, more, err := s.EventPage(t.Context(), f, ascending, rowsPage+1, 1<<20)
			require.NoError(t, err)
			require.Len(t, page, len(wanted))
			require.Equal(t, f.Numbers == nil && len(numbers) > len(wanted), more)
			for i, e := range page {
				if !ascending {
					i = len(wanted) - 1 - i
				}
				require.Equal(t, wanted[i], e.ID, "%+v", f)
			}
			if len(page) > rowsPage {
				full++
			}
		}
	}
	require.Greater(t, full, 50, "there are pages to count")
}
