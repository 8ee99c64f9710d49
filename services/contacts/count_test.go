package contacts

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// countedStore counts the queries that look at all matches, and says which pages are not known to read nothing else than they give.
type countedStore struct {
	queryStore
	all  int
	wide []store.Filter
}

func (s *countedStore) Measure(ctx context.Context, f store.Filter) (store.Extent, error) {
	s.all++
	return s.queryStore.Measure(ctx, f)
}

func (s *countedStore) Select(ctx context.Context, f store.Filter) ([]int64, error) {
	s.all++
	return s.queryStore.Select(ctx, f)
}

func (s *countedStore) Page(ctx context.Context, f store.Filter, limit int) ([]store.Attendance, error) {
	if !f.Contiguous() && f.Numbers == nil {
		s.wide = append(s.wide, f)
	}
	return s.queryStore.Page(ctx, f, limit)
}

// All matches are looked at when a walk begins, once to count and once to list them where the pages need that, and not on its other
// pages. Each page is one that TestRowsRead of the store counts.
func TestMatchesAreCountedOnceAWalk(t *testing.T) {
	testkit.EachEngine(t, Migrations(), "contacts", func(t *testing.T, db *sqldb.DB) {
		stored := store.New(db)
		begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for n := range 60 {
			at := begin.Add(time.Duration(n) * time.Hour)
			if n%20 == 5 {
				at = begin.Add(-1000 * time.Hour)
			}
			_, err := stored.OpenAttendance(t.Context(), store.Opening{
				Instance: "acme", RequestID: fmt.Sprint("r", n), InteractionID: fmt.Sprint("i", n), ContactID: fmt.Sprint("c", n),
				Identifier: fmt.Sprint("p", n%3), AssistantID: int64(1 + n%2), Source: []string{"api", "agent", "api_channel"}[n%3], Time: at,
			})
			require.NoError(t, err)
		}
		one, source, person, day, last := int64(1), "api", "p0", "2026-03-01", "2026-03-02"
		for name, test := range map[string]struct {
			filters *contactsv1.ContactFilters
			all     int
			dense   bool
		}{
			"everything":           {&contactsv1.ContactFilters{}, 0, false},
			"assistant":            {&contactsv1.ContactFilters{AssistantId: &one}, 1, false},
			"person":               {&contactsv1.ContactFilters{Identifier: &person}, 1, false},
			"person and assistant": {&contactsv1.ContactFilters{Identifier: &person, AssistantId: &one}, 1, false},
			"assistant and source": {&contactsv1.ContactFilters{AssistantId: &one, Source: &source}, 2, false},
			"source and days":      {&contactsv1.ContactFilters{Source: &source, StartDate: &day}, 2, false},
			"days in one piece":    {&contactsv1.ContactFilters{StartDate: &day, EndDate: &last}, 1, true},
			"days of two parts":    {&contactsv1.ContactFilters{EndDate: &last}, 2, false},
		} {
			s := &countedStore{queryStore: stored}
			q := &queries{store: s, extents: newExtentCache(), picks: newPicks(), maxHistoryBytes: maxHistoryBytes}
			c, violations := newCriteria(&contactsv1.QueryContactsRequest{Instance: "acme", Filters: test.filters})
			require.Empty(t, violations, name)
			c.limit = 4
			w, err := q.begin(t.Context(), c, time.UTC)
			require.NoError(t, err, name)
			pages, seen := 0, 0
			for next := &w; next != nil; pages++ {
				page, err := q.page(t.Context(), c, *next)
				require.NoError(t, err, name)
				seen += len(page.attendances)
				next = page.next
			}
			require.Equal(t, w.Count, int64(seen), name)
			require.Greater(t, pages, 2, name)
			require.Equal(t, test.all, s.all, name)
			for _, f := range s.wide {
				require.True(t, test.dense && f.OnlyDays(), "%s: %+v", name, f)
			}

			// The same again finds all of it counted, and, but for persons, listed.
			before := s.all
			again, err := q.begin(t.Context(), c, time.UTC)
			require.NoError(t, err, name)
			require.Equal(t, w, again, name)
			_, err = q.page(t.Context(), c, again)
			require.NoError(t, err, name)
			if test.filters.Identifier == nil {
				require.Equal(t, before, s.all, name)
			}
		}
	})
}
