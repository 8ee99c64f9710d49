package storetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// hasher makes the hashes of the tests.
func hasher(t *testing.T) *erasure.Hasher {
	t.Helper()
	box, err := secretbox.New(strings.Repeat("k", secretbox.MinKeyLength))
	require.NoError(t, err)
	return erasure.NewHasher(box)
}

// erase erases a person as the service does.
func (f *fixture) erase(t *testing.T, instance, identifier string, cut time.Time) map[string]int64 {
	t.Helper()
	record := erasure.Record{Instance: instance, Person: hasher(t).Person(instance, identifier), Cut: cut, Counts: map[string]int64{}}
	require.NoError(t, f.store.BeginErasure(t.Context(), record))
	contact, err := f.store.Contact(t.Context(), instance, identifier)
	require.NoError(t, err)
	if contact != nil {
		for more := true; more; {
			more, err = f.store.EraseAttendances(t.Context(), instance, contact.ID, cut, record.Counts)
			require.NoError(t, err)
		}
		require.NoError(t, f.store.EraseContact(t.Context(), instance, contact.ID, record.Counts))
	}
	require.NoError(t, f.store.FinishErasure(t.Context(), record, cut))
	return record.Counts
}

// rowsOf counts the rows of every table that has persons, of an instance.
func (f *fixture) rowsOf(t *testing.T, instance string) map[string]int {
	t.Helper()
	rows := make(map[string]int)
	for _, table := range []string{"contact", "contact_attribute", "attendance", "progress", "turn", "event"} {
		var n int
		require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM `+table+` WHERE instance = $1`, instance).Scan(&n))
		rows[table] = n
	}
	return rows
}

func said(number int64, n int) store.Turn {
	made := turn(number, n)
	made.Events = []store.Event{{Name: "happened", Details: map[string]string{"cpf": "1"}, Time: start}}
	made.Attributes = []store.Attribute{{Name: "name", Value: "Ana"}, {Name: "cpf", Value: "1", Lookup: "1"}}
	return made
}

func erasedPeopleAreGone(t *testing.T, f *fixture) {
	// More attendances than one transaction deletes, with turns that come in between those of others.
	var mine, others []store.Opened
	for n := range 11 {
		mine = append(mine, f.open(t, "acme", "mine-"+string(rune('a'+n)), "ana"))
		others = append(others, f.open(t, "acme", "other-"+string(rune('a'+n)), "bia"))
	}
	elsewhere := f.open(t, "zeta", "r", "ana")
	for n := range 3 {
		for i := range mine {
			f.record(t, "acme", said(mine[i].AttendanceID, n), said(others[i].AttendanceID, n))
		}
	}
	f.record(t, "zeta", said(elsewhere.AttendanceID, 1))
	before, kept := f.rowsOf(t, "acme"), f.rowsOf(t, "zeta")

	contact, err := f.store.Contact(t.Context(), "acme", "ana")
	require.NoError(t, err)
	counted, err := f.store.CountPerson(t.Context(), "acme", contact.ID, start)
	require.NoError(t, err)
	require.Equal(t, before, f.rowsOf(t, "acme"), "counting changes nothing")
	interactions, later, err := f.store.Interactions(t.Context(), "acme", contact.ID, start)
	require.NoError(t, err)
	require.Len(t, interactions, 11)
	require.Empty(t, later)
	_, later, err = f.store.Interactions(t.Context(), "acme", contact.ID, start.Add(-time.Microsecond))
	require.NoError(t, err)
	require.Len(t, later, 11)

	want := map[string]int64{
		store.KindContacts: 1, store.KindAttributes: 2, store.KindAttendances: 11, store.KindTurns: 33, store.KindEvents: 33,
	}
	require.Equal(t, want, counted)
	require.Equal(t, want, f.erase(t, "acme", "ana", start.Add(time.Hour)))
	for table, n := range f.rowsOf(t, "acme") {
		require.Equal(t, before[table]/2, n, table)
	}
	require.Equal(t, kept, f.rowsOf(t, "zeta"), "the same identifier of another instance is another person")
	contact, err = f.store.Contact(t.Context(), "acme", "ana")
	require.NoError(t, err)
	require.Nil(t, contact)
	_, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, int64(11), count)
	_, count, err = f.store.EventNumbers(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, int64(33), count)
	require.Equal(t, []string{"2-0", "2-1", "2-2"}, f.history(t, "acme", others[0].AttendanceID))

	require.Empty(t, f.erase(t, "acme", "ana", start.Add(2*time.Hour)), "again")
}

func erasureRefusesWhatCameBefore(t *testing.T, f *fixture) {
	cut := start.Add(time.Minute)
	opening := func(request, identifier string, accepted time.Time) store.Opening {
		o := f.opening("acme", request, identifier)
		o.Time, o.Person = accepted, erasure.Subject{Hasher: hasher(t), Instance: "acme", Identifier: identifier, Accepted: accepted}
		return o
	}
	first, err := f.store.OpenAttendance(t.Context(), opening("before", "ana", start))
	require.NoError(t, err)
	f.erase(t, "acme", "ana", cut)

	for name, accepted := range map[string]time.Time{"long before": start, "at the cut": cut} {
		_, err := f.store.OpenAttendance(t.Context(), opening(name, "ana", accepted))
		require.ErrorIs(t, err, store.ErrErased, name)
	}
	_, err = f.store.OpenAttendance(t.Context(), opening("before", "ana", start))
	require.ErrorIs(t, err, store.ErrErased, "the request that opened the erased one")
	require.Equal(t, map[string]int{"contact": 0, "contact_attribute": 0, "attendance": 0, "progress": 0, "turn": 0, "event": 0}, f.rowsOf(t, "acme"))
	fresh, unknown, err := f.store.RecordTurns(t.Context(), "acme", []store.Turn{said(first.AttendanceID, 1)})
	require.NoError(t, err)
	require.Zero(t, fresh)
	require.Equal(t, []int64{first.AttendanceID}, unknown, "a turn that was computed before finds nothing")

	_, err = f.store.OpenAttendance(t.Context(), opening("other", "bia", start))
	require.NoError(t, err, "somebody else")
	back, err := f.store.OpenAttendance(t.Context(), opening("after", "ana", cut.Add(time.Microsecond)))
	require.NoError(t, err, "who comes back is a new person")
	require.NotEqual(t, first.ContactID, back.ContactID)
	f.erase(t, "acme", "ana", cut)
	require.Equal(t, 1, f.rowsOf(t, "acme")["contact"]-1, "what came after the cut is left alone")
	require.Equal(t, 2, f.rowsOf(t, "acme")["attendance"])
	require.Greater(t, back.AttendanceID, first.AttendanceID, "numbers are not given again")
}

func erasuresOfAnOlderCopyAreMissing(t *testing.T, f *fixture) {
	h := hasher(t)
	done := erasure.Record{Instance: "acme", Person: h.Person("acme", "ana"), Cut: start}
	begun := erasure.Record{Instance: "acme", Person: h.Person("acme", "bia"), Cut: start}
	f.erase(t, "acme", "ana", start)
	require.NoError(t, f.store.BeginErasure(t.Context(), begun))
	later := done
	later.Cut = start.Add(time.Microsecond)
	elsewhere := erasure.Record{Instance: "zeta", Person: h.Person("zeta", "ana"), Cut: start}
	missing, err := f.store.MissingErasures(t.Context(), []erasure.Record{done, begun, later, elsewhere})
	require.NoError(t, err)
	require.Equal(t, []erasure.Record{begun, later, elsewhere}, missing)
	earlier := done
	earlier.Cut = start.Add(-time.Hour)
	missing, err = f.store.MissingErasures(t.Context(), []erasure.Record{earlier})
	require.NoError(t, err)
	require.Empty(t, missing, "a later one has done it too")

	for _, identifier := range []string{"b", "a", "ç"} {
		f.open(t, "acme", "open-"+identifier, identifier)
	}
	f.open(t, "zeta", "open", "z")
	all, next, err := f.store.Identifiers(t.Context(), "acme", "")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "ç"}, all)
	require.Empty(t, next)
	all, _, err = f.store.Identifiers(t.Context(), "acme", "b")
	require.NoError(t, err)
	require.Equal(t, []string{"ç"}, all)
}

// openingsWhileErasing opens attendances of a person at the same time as the person is erased, again and again: whatever came before
// the cut is gone, and whatever came after it is whole.
func openingsWhileErasing(t *testing.T, f *fixture) {
	h := hasher(t)
	const openers, each = 4, 25
	done := make(chan error, openers)
	for n := range openers {
		go func() {
			for i := range each {
				o := f.opening("acme", string(rune('a'+n))+"-"+string(rune('a'+i)), "ana")
				o.Time = start.Add(time.Duration(i) * time.Minute)
				o.Person = erasure.Subject{Hasher: h, Instance: "acme", Identifier: "ana", Accepted: o.Time}
				if _, err := f.store.OpenAttendance(t.Context(), o); err != nil && !errors.Is(err, store.ErrErased) {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for i := range 5 {
		f.erase(t, "acme", "ana", start.Add(time.Duration(i)*time.Minute))
	}
	for range openers {
		require.NoError(t, <-done)
	}
	var orphans int
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), `
		SELECT count(*) FROM attendance a
		LEFT JOIN contact c ON c.instance = a.instance AND c.id = a.contact_id
		LEFT JOIN progress p ON p.instance = a.instance AND p.attendance_id = a.id
		WHERE c.id IS NULL OR p.attendance_id IS NULL`).Scan(&orphans))
	require.Zero(t, orphans)
	f.erase(t, "acme", "ana", start.Add(each*time.Minute))
	require.Equal(t, map[string]int{"contact": 0, "contact_attribute": 0, "attendance": 0, "progress": 0, "turn": 0, "event": 0}, f.rowsOf(t, "acme"))
}

// retire runs Retire to its end.
func (f *fixture) retire(t *testing.T, instance string, before time.Time) map[string]int64 {
	t.Helper()
	all := make(map[string]int64)
	for cursor, begun := "", false; cursor != "" || !begun; begun = true {
		next, deleted, err := f.store.Retire(t.Context(), instance, before, cursor)
		require.NoError(t, err)
		for kind, n := range deleted {
			all[kind] += n
		}
		cursor = next
	}
	return all
}

func oldAttendancesAreDeleted(t *testing.T, f *fixture) {
	for n := range 30 {
		who := []string{"ana", "bia"}[n%2]
		o := f.opening("acme", "r-"+string(rune('a'+n)), who)
		o.Time = start.Add(time.Duration(n) * time.Hour)
		opened, err := f.store.OpenAttendance(t.Context(), o)
		require.NoError(t, err)
		turn := said(opened.AttendanceID, 1)
		if n != 3 { // one that goes on
			turn.Finish = o.Time.Add(time.Minute)
		}
		f.record(t, "acme", turn)
	}
	elsewhere := f.open(t, "zeta", "r", "ana")
	f.record(t, "zeta", said(elsewhere.AttendanceID, 1))
	require.Empty(t, f.retire(t, "acme", start.Add(time.Minute)), "at the moment of its end one is kept")
	deleted := f.retire(t, "acme", start.Add(10*time.Hour).Add(time.Minute))
	require.Equal(t, map[string]int64{store.KindAttendances: 9, store.KindTurns: 9, store.KindEvents: 9}, deleted, "0 to 9 but 3")
	rows := f.rowsOf(t, "acme")
	require.Equal(t, 21, rows["attendance"])
	require.Equal(t, 2, rows["contact"])
	_, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, int64(21), count)

	deleted = f.retire(t, "acme", start.Add(1000*time.Hour))
	require.EqualValues(t, 20, deleted[store.KindAttendances])
	require.EqualValues(t, 1, deleted[store.KindContacts], "who has an attendance that goes on is kept")
	require.Equal(t, map[string]int{"contact": 1, "contact_attribute": 2, "attendance": 1, "progress": 1, "turn": 1, "event": 1}, f.rowsOf(t, "acme"))
	require.Equal(t, 1, f.rowsOf(t, "zeta")["attendance"])
	next, err := f.store.NextInstance(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, "zeta", next)
	next, err = f.store.NextInstance(t.Context(), next)
	require.NoError(t, err)
	require.Empty(t, next)
}
