package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

func attributesAreLearned(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p")
	learn := func(n int, attributes ...store.Attribute) {
		one := turn(a.AttendanceID, n)
		one.Attributes = attributes
		f.record(t, "acme", one)
	}
	known := func() map[string]string {
		return f.open(t, "acme", "r1", "p").Attributes
	}
	find := func(form string) []string {
		contacts, err := f.store.Contacts(t.Context(), "acme", store.People{Attributes: []store.Lookup{{Name: "cpf", Form: form}}}, 2)
		require.NoError(t, err)
		return contacts
	}
	learn(1, store.Attribute{Name: "cpf", Value: "1-2", Lookup: "12"}, store.Attribute{Name: "name", Value: "Ana"})
	require.Equal(t, map[string]string{"cpf": "1-2", "name": "Ana"}, known())
	require.Equal(t, []string{a.ContactID}, find("12"))

	learn(2, store.Attribute{Name: "cpf", Value: "34", Lookup: "34"}, store.Attribute{Name: "name", Value: ""})
	require.Equal(t, map[string]string{"cpf": "34"}, known())
	require.Empty(t, find("12"))
	require.Equal(t, []string{a.ContactID}, find("34"))

	learn(3, store.Attribute{Name: "cpf", Value: "", Lookup: ""}, store.Attribute{Name: "never", Value: ""})
	require.Empty(t, known())
	require.Empty(t, find("34"))
	require.Empty(t, find(""), "an empty form finds nobody")

	// In one call the last word counts.
	x, y, z := turn(a.AttendanceID, 4), turn(a.AttendanceID, 5), turn(a.AttendanceID, 6)
	x.Attributes = []store.Attribute{{Name: "k", Value: "1"}, {Name: "l", Value: "1"}}
	y.Attributes = []store.Attribute{{Name: "k", Value: "2"}, {Name: "l", Value: ""}}
	z.Attributes = []store.Attribute{{Name: "k", Value: "3"}, {Name: "m", Value: "1"}}
	f.record(t, "acme", x, y, z)
	require.Equal(t, map[string]string{"k": "3", "m": "1"}, known())

	// The person's next attendance begins with what is known.
	require.Equal(t, map[string]string{"k": "3", "m": "1"}, f.open(t, "acme", "r2", "p").Attributes)
}

func peopleAreFoundByAllThatIsSaid(t *testing.T, f *fixture) {
	ana, bia := f.open(t, "acme", "r1", "ana"), f.open(t, "acme", "r2", "bia")
	x, y := turn(ana.AttendanceID, 1), turn(bia.AttendanceID, 1)
	x.Attributes = []store.Attribute{{Name: "cpf", Value: "1", Lookup: "1"}, {Name: "phone", Value: "5", Lookup: "5"}}
	y.Attributes = []store.Attribute{{Name: "cpf", Value: "2", Lookup: "2"}, {Name: "phone", Value: "5", Lookup: "5"}}
	f.record(t, "acme", x, y)
	phone := store.Lookup{Name: "phone", Form: "5"}
	for name, test := range map[string]struct {
		people store.People
		want   []string
	}{
		"identifier":              {store.People{Identifier: ptr("ana")}, []string{ana.ContactID}},
		"shared phone":            {store.People{Attributes: []store.Lookup{phone}}, []string{ana.ContactID, bia.ContactID}},
		"cpf and phone":           {store.People{Attributes: []store.Lookup{{Name: "cpf", Form: "2"}, phone}}, []string{bia.ContactID}},
		"identifier and phone":    {store.People{Identifier: ptr("ana"), Attributes: []store.Lookup{phone}}, []string{ana.ContactID}},
		"contradiction":           {store.People{Identifier: ptr("ana"), Attributes: []store.Lookup{{Name: "cpf", Form: "2"}}}, []string{}},
		"unknown identifier":      {store.People{Identifier: ptr("nobody")}, []string{}},
		"value of another's name": {store.People{Attributes: []store.Lookup{{Name: "cpf", Form: "5"}}}, []string{}},
	} {
		got, err := f.store.Contacts(t.Context(), "acme", test.people, 10)
		require.NoError(t, err, name)
		require.ElementsMatch(t, test.want, got, name)

		people := test.people
		page, err := f.store.Page(t.Context(), store.Filter{Instance: "acme", Low: 1, High: 99, People: &people}, 10)
		require.NoError(t, err, name)
		require.Len(t, page, len(test.want), name)
		extent, err := f.store.Measure(t.Context(), store.Filter{Instance: "acme", Low: 1, High: 99, People: &people})
		require.NoError(t, err, name)
		require.Equal(t, int64(len(test.want)), extent.Count, name)
	}
	one, err := f.store.Contacts(t.Context(), "acme", store.People{Attributes: []store.Lookup{phone}}, 1)
	require.NoError(t, err)
	require.Len(t, one, 1)
}

func eventTypesAreNumberedOnce(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p").AttendanceID
	report := func(n int, names ...string) {
		one := turn(a, n)
		for _, name := range names {
			one.Events = append(one.Events, store.Event{Name: name, Details: map[string]string{}, Time: start})
		}
		f.record(t, "acme", one)
	}
	report(1, "b", "a", "b")
	report(2, "c", "a", "B")
	types := make(map[string]int64)
	for n, e := range f.events(t, "acme", a) {
		require.Equal(t, int64(n+1), e.ID)
		if known, ok := types[e.Name]; ok {
			require.Equal(t, known, e.TypeID)
		}
		types[e.Name] = e.TypeID
	}
	require.Equal(t, map[string]int64{"a": 1, "b": 2, "B": 3, "c": 4}, types)
}

func eventTypesAtOnce(t *testing.T, f *fixture) {
	const callers = 8
	for n := range callers {
		f.open(t, "acme", fmt.Sprint("r", n), fmt.Sprint("p", n))
	}
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for n := range callers {
		one := turn(int64(n+1), 1)
		for e := range 5 {
			one.Events = append(one.Events, store.Event{Name: fmt.Sprint("e", (e+n)%6), Details: map[string]string{}, Time: start})
		}
		wg.Go(func() { _, _, errs[n] = f.store.RecordTurns(t.Context(), "acme", []store.Turn{one}) })
	}
	wg.Wait()
	types := make(map[string]int64)
	numbers := make(map[int64]bool)
	for n := range callers {
		require.NoError(t, errs[n])
		for _, e := range f.events(t, "acme", int64(n+1)) {
			if known, ok := types[e.Name]; ok {
				require.Equal(t, known, e.TypeID)
			}
			types[e.Name] = e.TypeID
			numbers[e.ID] = true
		}
	}
	require.Len(t, types, 6)
	require.Len(t, numbers, callers*5)
}
