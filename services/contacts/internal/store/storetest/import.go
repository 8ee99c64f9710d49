package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

// moved is an attendance of another system.
func (f *fixture) moved(n int, identifier string) store.Import {
	return store.Import{
		ExternalID: fmt.Sprint("x", n), InteractionID: f.ids.New(), ContactID: f.ids.New(), Identifier: identifier,
		AssistantID: 3, Source: "whatsapp", CreateTime: later(-time.Hour), FinishTime: later(-time.Minute),
		Items: []byte(fmt.Sprint("items ", n)), Spoken: 2,
	}
}

func (f *fixture) imports(t *testing.T, instance string, list ...store.Import) []store.Imported {
	t.Helper()
	imported, err := f.store.ImportAttendances(t.Context(), instance, list)
	require.NoError(t, err)
	require.Len(t, imported, len(list))
	return imported
}

func (f *fixture) attributes(t *testing.T, instance, contact string) map[string]string {
	t.Helper()
	known, err := f.store.Attributes(t.Context(), instance, []string{contact})
	require.NoError(t, err)
	return known[contact]
}

func importIsKeptWhole(t *testing.T, f *fixture) {
	f.open(t, "acme", "r1", "live")
	a, b := f.moved(1, "ana"), f.moved(2, "bia")
	a.Events = []store.Event{
		{Name: "transbordo", ExternalID: ptr("e1"), Extra1: ptr("one"), Extra2: ptr(""), Details: map[string]string{"k": "v\u0000"}, Time: later(time.Second)},
		{Name: "encerramento", Details: map[string]string{}, Time: later(2 * time.Second)},
	}
	a.Attributes = []store.Attribute{{Name: "cpf", Value: "1-2", Lookup: "12"}, {Name: "name", Value: "Ana"}}
	b.Items, b.Spoken = []byte{}, 0
	imported := f.imports(t, "acme", a, b)
	require.Equal(t, []store.Imported{
		{AttendanceID: 2, InteractionID: a.InteractionID, ContactID: a.ContactID, Created: true},
		{AttendanceID: 3, InteractionID: b.InteractionID, ContactID: b.ContactID, Created: true},
	}, imported)

	require.Equal(t, store.Attendance{
		ID: 2, InteractionID: a.InteractionID, ContactID: a.ContactID, Identifier: "ana", AssistantID: 3, Source: "whatsapp",
		ExternalID: ptr("x1"), Interactions: 2, CreateTime: a.CreateTime, FinishTime: a.FinishTime,
	}, f.attendance(t, "acme", 2))
	require.Equal(t, []string{"items 1"}, f.history(t, "acme", 2))
	require.Equal(t, []string{""}, f.history(t, "acme", 3))
	require.Zero(t, f.attendance(t, "acme", 3).Interactions)
	events := f.events(t, "acme", 2)
	require.Len(t, events, 2)
	for n, e := range a.Events {
		e.ID, e.AttendanceID, e.AssistantID, e.TypeID = int64(n+1), 2, 3, events[n].TypeID
		require.Equal(t, e, events[n])
	}
	require.Equal(t, map[string]string{"cpf": "1-2", "name": "Ana"}, f.attributes(t, "acme", a.ContactID))
	people, err := f.store.Contacts(t.Context(), "acme", store.People{Attributes: []store.Lookup{{Name: "cpf", Form: "12"}}}, 2)
	require.NoError(t, err)
	require.Equal(t, []string{a.ContactID}, people)
	last, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []int64{3, 3}, []int64{last, count})
	require.Empty(t, f.imports(t, "acme"))
}

func importIsDoneOnce(t *testing.T, f *fixture) {
	var list []store.Import
	for n := range 70 { // more than a statement has rows
		one := f.moved(n, fmt.Sprint("p", n%9))
		one.Events = []store.Event{{Name: "e", Details: map[string]string{}, Time: start}}
		list = append(list, one)
	}
	first := f.imports(t, "acme", list[:40]...)
	again := make([]store.Import, len(list))
	for n := range list {
		again[n] = f.moved(n, "somebody else")
		again[n].Attributes = []store.Attribute{{Name: "name", Value: "new"}}
		again[n].Events = list[n].Events
	}
	second := f.imports(t, "acme", again...)
	for n, a := range second {
		require.Equal(t, n >= 40, a.Created)
		require.Equal(t, int64(n+1), a.AttendanceID)
		if n < 40 {
			a.Created = true
			require.Equal(t, first[n], a)
			require.Equal(t, fmt.Sprint("p", n%9), f.attendance(t, "acme", a.AttendanceID).Identifier, "it is as it was")
		}
		require.Len(t, f.events(t, "acme", a.AttendanceID), 1)
	}
	last, count, err := f.store.EventNumbers(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []int64{70, 70}, []int64{last, count})
}

func sameImportAtOnce(t *testing.T, f *fixture) {
	const callers, attendances = 6, 30
	results := make([][]store.Imported, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		var list []store.Import
		for n := range attendances {
			if c%2 == 1 {
				n = attendances - 1 - n
			}
			one := f.moved(n, fmt.Sprint("p", n%7))
			one.Attributes = []store.Attribute{{Name: "name", Value: fmt.Sprint("p", n%7)}}
			one.Events = []store.Event{{Name: fmt.Sprint("e", n%3), Details: map[string]string{}, Time: start}}
			list = append(list, one)
		}
		wg.Go(func() { results[c], errs[c] = f.store.ImportAttendances(t.Context(), "acme", list) })
		wg.Go(func() { // beside people who open attendances
			for n := range 7 {
				_, err := f.store.OpenAttendance(t.Context(), f.opening("acme", fmt.Sprint(c, "-", n), fmt.Sprint("p", 6-n)))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	created := 0
	for c := range callers {
		require.NoError(t, errs[c])
		for _, a := range results[c] {
			if a.Created {
				created++
			}
		}
	}
	require.Equal(t, attendances, created)
	_, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.EqualValues(t, attendances+callers*7, count)
	extent, err := f.store.Measure(t.Context(), store.Filter{Instance: "acme", Source: ptr("whatsapp"), Low: 1, High: 1000})
	require.NoError(t, err)
	require.EqualValues(t, attendances, extent.Count)
	_, events, err := f.store.EventNumbers(t.Context(), "acme")
	require.NoError(t, err)
	require.EqualValues(t, attendances, events)
}

// importOfKnownPeople has attributes from attendances of different ages: the newest one's word stands, older ones fill the gaps.
func importOfKnownPeople(t *testing.T, f *fixture) {
	live := f.open(t, "acme", "r1", "ana") // at start
	one := turn(live.AttendanceID, 1)
	one.Attributes = []store.Attribute{{Name: "name", Value: "live"}}
	f.record(t, "acme", one)
	at := func(n int, when time.Duration, attributes ...store.Attribute) store.Import {
		a := f.moved(n, "ana")
		a.CreateTime, a.Attributes = later(when), attributes
		return a
	}
	imported := f.imports(t, "acme",
		at(1, -time.Hour, store.Attribute{Name: "name", Value: "old"}, store.Attribute{Name: "phone", Value: "2", Lookup: "2"}),
		at(2, -2*time.Hour, store.Attribute{Name: "phone", Value: "1", Lookup: "1"}, store.Attribute{Name: "city", Value: "Belém"}),
	)
	require.Equal(t, live.ContactID, imported[0].ContactID)
	require.Equal(t, live.ContactID, imported[1].ContactID)
	require.Equal(t, map[string]string{"name": "live", "phone": "2", "city": "Belém"}, f.attributes(t, "acme", live.ContactID))

	f.imports(t, "acme",
		at(4, 2*time.Hour, store.Attribute{Name: "name", Value: "newest"}),
		at(3, time.Hour, store.Attribute{Name: "name", Value: "newer"}, store.Attribute{Name: "city", Value: "Natal"}),
		at(5, -time.Hour, store.Attribute{Name: "city", Value: "Recife"}, store.Attribute{Name: "zip", Value: "9"}),
	)
	require.Equal(t, map[string]string{"name": "newest", "phone": "2", "city": "Natal", "zip": "9"}, f.attributes(t, "acme", live.ContactID))
}

func importsStayInTheirInstance(t *testing.T, f *fixture) {
	mine, theirs := f.moved(1, "ana"), f.moved(1, "ana")
	theirs.Attributes = []store.Attribute{{Name: "name", Value: "theirs"}}
	a, b := f.imports(t, "acme", mine), f.imports(t, "other", theirs)
	require.True(t, a[0].Created && b[0].Created)
	require.NotEqual(t, a[0].ContactID, b[0].ContactID)
	require.Empty(t, f.attributes(t, "acme", a[0].ContactID))
	require.Equal(t, a[0].InteractionID, f.imports(t, "acme", f.moved(1, "bia"))[0].InteractionID)
}

// importBesideLiveTurns has an attendance that came by import get a turn, which no caller should do: its history goes on.
func importBesideLiveTurns(t *testing.T, f *fixture) {
	number := f.imports(t, "acme", f.moved(1, "ana"))[0].AttendanceID
	require.Equal(t, 1, f.record(t, "acme", turn(number, 1)))
	require.Equal(t, []string{"items 1", string(turn(number, 1).Items)}, f.history(t, "acme", number))
	got := f.attendance(t, "acme", number)
	require.Equal(t, int64(3), got.Interactions)
	require.Equal(t, later(-time.Minute), got.FinishTime)
}
