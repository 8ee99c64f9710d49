package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// plan is how SQLite runs a query.
func plan(t *testing.T, db *sqldb.DB, query string, args []any) string {
	t.Helper()
	rows, err := db.Reader().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
	require.NoError(t, err, query)
	defer func() { require.NoError(t, rows.Close()) }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		steps = append(steps, detail)
	}
	require.NoError(t, rows.Err())
	return strings.Join(steps, "\n")
}

// requireNoScan fails if a table is read from end to end. The elements of a list are, and what a recursive query has found, and may be.
func requireNoScan(t *testing.T, plan string) {
	t.Helper()
	for step := range strings.SplitSeq(plan, "\n") {
		if strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "VIRTUAL TABLE") && !strings.HasPrefix(step, "SCAN said") &&
			!strings.Contains(step, "CONSTANT ROW") {
			require.Fail(t, "a table is scanned", plan)
		}
	}
}

// Every query finds its rows by an index whose first columns it knows, and pages by one filter come out in order without sorting.
func TestPlans(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "contacts"))
	s := New(db)
	number, text := int64(1), "x"
	choices := []func(*Filter){
		func(f *Filter) { f.ID = &number },
		func(f *Filter) { f.AssistantID = &number },
		func(f *Filter) { f.Source = &text },
		func(f *Filter) { f.ExternalID = &text },
		func(f *Filter) { f.From = new(int64(1e6)) },
		func(f *Filter) { f.Until = new(int64(2e6)) },
		func(f *Filter) { f.Contacts = []string{"a"} },
		func(f *Filter) { f.Contacts = []string{"a", "b"} },
		func(f *Filter) {
			f.People = &People{Identifier: &text, Attributes: []Lookup{{"cpf", "1"}, {"phone", "2"}}}
		},
		func(f *Filter) { f.People = &People{Attributes: []Lookup{{"cpf", "1"}, {"phone", "2"}}} },
	}
	for set := range 1 << len(choices) {
		f := Filter{Instance: "acme", Low: 1, High: 99}
		for n, choose := range choices {
			if set&(1<<n) != 0 {
				choose(&f)
			}
		}
		query, args := s.pageQuery(f, 101)
		page := plan(t, db, query, args)
		requireNoScan(t, page)
		if len(f.Contacts) <= 1 && (f.People == nil || f.Contacts != nil || f.ID != nil) {
			require.NotContains(t, page, "TEMP B-TREE", "%s", query)
		}
		if f.ID == nil {
			require.Contains(t, page, "SEARCH attendance USING", "%s", query)
			require.Contains(t, page, "id>", "the bounds of the page bound what is read\n%s\n%s", query, page)
		}
		query, args = s.measureQuery(f)
		requireNoScan(t, plan(t, db, query, args))
		query, args = s.selectQuery(f)
		requireNoScan(t, plan(t, db, query, args))
	}
	for name, f := range map[string]Filter{
		"assistant": {AssistantID: &number}, "source": {Source: &text}, "days": {From: new(int64(1e6)), Until: new(int64(2e6))},
		"assistant, source and days": {AssistantID: &number, Source: &text, From: new(int64(1e6))},
		"source and days":            {Source: &text, From: new(int64(1e6))},
		"contact":                    {Contacts: []string{"a"}},
	} {
		f.Low, f.High = 1, fewNumbers+1
		query, args := s.measureQuery(f)
		require.Contains(t, plan(t, db, query, args), "COVERING INDEX", "counting by %s reads nothing but the index", name)
	}
}

func TestPlansOfOtherQueries(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "contacts"))
	s := New(db)
	people, args := s.contactsQuery("acme", People{Attributes: []Lookup{{"cpf", "1"}, {"phone", "2"}}}, 17)
	byIdentifier, identifierArgs := s.contactsQuery("acme", People{Identifier: new(string), Attributes: []Lookup{{"cpf", "1"}}}, 17)
	for query, args := range map[string][]any{
		people:               args,
		byIdentifier:         identifierArgs,
		s.dialect.history:    {"acme", "[1,2]"},
		s.ownersQuery():      {"acme", "[1,2]"},
		s.eventsQuery():      {"acme", "[1,2]"},
		s.weightsQuery():     {"acme", "[1,2]", 1},
		s.attributesQuery():  {"acme", `["a"]`},
		s.externalQuery():    {"acme", `["a"]`},
		s.identifiersQuery(): {"acme", `["a"]`},
		s.newestQuery():      {"acme", `["a"]`},
	} {
		requireNoScan(t, plan(t, db, query, args))
	}
	history := plan(t, db, s.dialect.history, []any{"acme", "[1,2]"})
	require.Equal(t, 2, strings.Count(history, "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"), "each turn is found by its number\n%s", history)
	for n, size := range []int{64, 32, 16, 8, 4, 2, 1} {
		for what, b := range map[string]struct {
			statement *sqldb.Bulk
			columns   int
			shared    int
			finds     string
		}{
			"turns":      {sqliteInsertTurns, 3, 1, "SEARCH p USING PRIMARY KEY (instance=? AND attendance_id=?)"},
			"requests":   {sqliteFindRequests, 3, 0, "SEARCH a USING INDEX sqlite_autoindex_attendance_2 (instance=? AND request_id=?)"},
			"contacts":   {sqliteFindContacts, 3, 0, "SEARCH c USING INDEX sqlite_autoindex_contact_2 (instance=? AND identifier=?)"},
			"attributes": {sqliteFindAttributes, 3, 0, "SEARCH a USING PRIMARY KEY (instance=? AND contact_id=?)"},
			"delete":     {deleteAttributes.sqlite, 2, 1, "SEARCH contact_attribute USING PRIMARY KEY (instance=? AND contact_id=? AND name=?)"},
		} {
			values := make([]any, b.shared+size*b.columns)
			for i := range values {
				values[i] = 1
			}
			got := plan(t, db, b.statement[n], values)
			require.Contains(t, got, b.finds, "%s of %d", what, size)
			require.NotContains(t, got, "TEMP B-TREE", "%s of %d", what, size)
		}
	}
}

// The same holds for events.
func TestPlansOfEvents(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "contacts"))
	s := New(db)
	number, text := int64(1), "x"
	choices := []func(*EventFilter){
		func(f *EventFilter) { f.AssistantID = &number },
		func(f *EventFilter) { f.AttendanceID = &number },
		func(f *EventFilter) { f.ExternalID = &text },
		func(f *EventFilter) { f.Name = &text },
		func(f *EventFilter) { f.Identifier = &text },
		func(f *EventFilter) { f.From = new(int64(1e6)) },
		func(f *EventFilter) { f.Until = new(int64(2e6)) },
	}
	for set := range 1 << len(choices) {
		f := EventFilter{Instance: "acme", Low: 1, High: 99}
		for n, choose := range choices {
			if set&(1<<n) != 0 {
				choose(&f)
			}
		}
		for _, ascending := range []bool{true, false} {
			query, args := s.eventPageQuery(f, ascending, 101)
			page := plan(t, db, query, args)
			requireNoScan(t, page)
			require.Contains(t, page, "SEARCH e USING", "%s", query)
			if f.Identifier == nil {
				require.NotContains(t, page, "TEMP B-TREE", "%s", query)
				require.Contains(t, page, "id>", "the bounds of the page bound what is read\n%s\n%s", query, page)
			}
		}
		query, args := s.measureEventsQuery(f)
		requireNoScan(t, plan(t, db, query, args))
	}
	for name, f := range map[string]EventFilter{
		"name": {Name: &text}, "assistant": {AssistantID: &number}, "times": {From: new(int64(1e6)), Until: new(int64(2e6))},
		"name, assistant and times": {Name: &text, AssistantID: &number, From: new(int64(1e6))}, "attendance": {AttendanceID: &number},
	} {
		f.Low, f.High = 1, fewNumbers+1
		query, args := s.measureEventsQuery(f)
		require.Contains(t, plan(t, db, query, args), "SEARCH e USING COVERING INDEX", "counting by %s reads nothing but the index", name)
	}
}
