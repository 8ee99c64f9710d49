package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

func turnIsKeptWhole(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p").AttendanceID
	first, silent, last := turn(a, 1), turn(a, 2), turn(a, 3)
	first.Events = []store.Event{
		{Name: "transbordo", Details: map[string]string{"cpf": "12345678909", "emoji": "🍇\u0000"}, Time: later(time.Second)},
		{Name: "encerramento", Details: map[string]string{}, Time: later(2 * time.Second)},
	}
	silent.Spoken, silent.Items = 0, []byte{}
	last.Finish = later(time.Hour)
	require.Equal(t, 1, f.record(t, "acme", first))
	require.Equal(t, 2, f.record(t, "acme", silent, last))

	got := f.attendance(t, "acme", a)
	require.Equal(t, int64(2), got.Interactions)
	require.Equal(t, later(time.Hour), got.FinishTime)
	require.Equal(t, []string{string(first.Items), "", string(last.Items)}, f.history(t, "acme", a))
	events := f.events(t, "acme", a)
	require.Len(t, events, 2)
	require.Equal(t, store.Event{
		ID: 1, AssistantID: 7, AttendanceID: a, TypeID: events[0].TypeID, Name: "transbordo",
		Details: first.Events[0].Details, Time: later(time.Second),
	}, events[0])
	require.Equal(t, int64(2), events[1].ID)
	require.NotEqual(t, events[0].TypeID, events[1].TypeID)

	// The first end stays.
	again := turn(a, 4)
	again.Finish = later(2 * time.Hour)
	f.record(t, "acme", again)
	require.Equal(t, later(time.Hour), f.attendance(t, "acme", a).FinishTime)
}

func repeatedTurnsAreIgnored(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p").AttendanceID
	first, second, third := turn(a, 1), turn(a, 2), turn(a, 3)
	first.Events = []store.Event{{Name: "e", Details: map[string]string{}, Time: start}}
	first.Attributes = []store.Attribute{{Name: "name", Value: "old"}}
	silent := store.Turn{ID: "silent", AttendanceID: a, Items: []byte{}}
	require.Equal(t, 2, f.record(t, "acme", first, silent))
	second.Attributes = []store.Attribute{{Name: "name", Value: "new"}}
	require.Equal(t, 1, f.record(t, "acme", first, second))
	require.Equal(t, 0, f.record(t, "acme", first, silent, second))
	require.Equal(t, 1, f.record(t, "acme", second, first, third, third), "a turn that comes twice in one call is one")

	got := f.attendance(t, "acme", a)
	require.Equal(t, int64(3), got.Interactions)
	require.Equal(t, []string{string(first.Items), "", string(second.Items), string(third.Items)}, f.history(t, "acme", a))
	require.Len(t, f.events(t, "acme", a), 1)
	known, err := f.store.Attributes(t.Context(), "acme", []string{got.ContactID})
	require.NoError(t, err)
	require.Equal(t, "new", known[got.ContactID]["name"], "a repetition brings nothing back")
}

func sameTurnsAtOnce(t *testing.T, f *fixture) {
	a, b := f.open(t, "acme", "r1", "p").AttendanceID, f.open(t, "acme", "r2", "q").AttendanceID
	var batch []store.Turn
	for n := range 10 {
		x, y := turn(a, n), turn(b, n)
		x.Events = []store.Event{{Name: fmt.Sprint("e", n), Details: map[string]string{}, Time: start}}
		x.Attributes = []store.Attribute{{Name: "n", Value: fmt.Sprint(n)}}
		y.Attributes = x.Attributes
		batch = append(batch, x, y)
	}
	const callers = 8
	var mu sync.Mutex
	fresh := 0
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			n, _, err := f.store.RecordTurns(t.Context(), "acme", batch)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				fresh += n
			} else {
				fresh = -1000
			}
		})
	}
	wg.Wait()
	require.Equal(t, len(batch), fresh)
	for _, number := range []int64{a, b} {
		require.Equal(t, int64(10), f.attendance(t, "acme", number).Interactions)
		said := f.history(t, "acme", number)
		require.Len(t, said, 10)
		for n, items := range said {
			require.Equal(t, string(turn(number, n).Items), items, "in order")
		}
	}
	require.Len(t, f.events(t, "acme", a), 10)
}

// turnsOfSharedAttendancesAtOnce has callers whose turns are new and whose attendances are the same, in different orders: they wait
// for each other but never in a circle, and every message is counted.
func turnsOfSharedAttendancesAtOnce(t *testing.T, f *fixture) {
	const callers, attendances = 8, 40
	for n := range attendances {
		f.open(t, "acme", fmt.Sprint("r", n), fmt.Sprint("p", n))
	}
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		var batch []store.Turn
		for n := range attendances {
			number := int64((n*(2*c+1))%attendances + 1)
			one := turn(number, c)
			one.ID = fmt.Sprint(c, "-", n)
			one.Attributes = []store.Attribute{{Name: "last", Value: fmt.Sprint(c)}}
			one.Events = []store.Event{{Name: fmt.Sprint("e", c), Details: map[string]string{}, Time: start}}
			batch = append(batch, one)
		}
		wg.Go(func() { _, _, errs[c] = f.store.RecordTurns(t.Context(), "acme", batch) })
	}
	wg.Wait()
	total := int64(0)
	for c := range callers {
		require.NoError(t, errs[c])
	}
	for n := range attendances {
		total += f.attendance(t, "acme", int64(n+1)).Interactions
	}
	require.Equal(t, int64(callers*attendances), total)
}

// turnsOfNoAttendanceHoldNobodyUp has turns of attendances that were erased, or are another instance's, among others.
func turnsOfNoAttendanceHoldNobodyUp(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p").AttendanceID
	other := f.open(t, "other", "r1", "p").AttendanceID
	f.open(t, "other", "r2", "q")
	lost := turn(99, 1)
	lost.Events = []store.Event{{Name: "lost", Details: map[string]string{}, Time: start}}
	lost.Attributes = []store.Attribute{{Name: "name", Value: "lost"}}
	fresh, unknown, err := f.store.RecordTurns(t.Context(), "acme",
		[]store.Turn{turn(a, 1), lost, turn(a, 2), turn(other+1, 1), turn(99, 2), turn(other+1, 2)})
	require.NoError(t, err)
	require.Equal(t, 2, fresh)
	require.ElementsMatch(t, []int64{99, other + 1}, unknown)
	require.Equal(t, []string{string(turn(a, 1).Items), string(turn(a, 2).Items)}, f.history(t, "acme", a))
	require.Empty(t, f.history(t, "acme", 99))
	require.Empty(t, f.events(t, "acme", 99))
	require.Empty(t, f.history(t, "other", other+1))

	// With repetitions, and alone; again and again.
	for range 2 {
		fresh, unknown, err = f.store.RecordTurns(t.Context(), "acme", []store.Turn{turn(a, 2), turn(98, 1), turn(a, 1)})
		require.NoError(t, err)
		require.Zero(t, fresh)
		require.Equal(t, []int64{98}, unknown)
		fresh, unknown, err = f.store.RecordTurns(t.Context(), "acme", []store.Turn{turn(98, 1)})
		require.NoError(t, err)
		require.Zero(t, fresh)
		require.Equal(t, []int64{98}, unknown)
	}
	require.Equal(t, int64(2), f.attendance(t, "acme", a).Interactions)
	require.Equal(t, 1, f.record(t, "acme", turn(a, 3)))
}

// turnIDsAreUnique has turns with an id that a turn of another attendance has. No caller should send such; the first stays.
func turnIDsAreUnique(t *testing.T, f *fixture) {
	a, b := f.open(t, "acme", "r1", "p").AttendanceID, f.open(t, "acme", "r2", "q").AttendanceID
	first, other, own := turn(a, 1), turn(b, 1), turn(b, 2)
	other.ID = first.ID
	require.Equal(t, 2, f.record(t, "acme", first, other, own))
	require.Equal(t, 0, f.record(t, "acme", other))
	other.AttendanceID = 99
	require.Equal(t, 0, f.record(t, "acme", other), "what is known already is not looked at")
	require.Equal(t, []string{string(first.Items)}, f.history(t, "acme", a))
	require.Equal(t, []string{string(own.Items)}, f.history(t, "acme", b))
	require.Equal(t, int64(1), f.attendance(t, "acme", b).Interactions)
}

// turnsAndRepetitionsInOneCall has every turn of a few attendances come several times, each time further than before, as they do from a
// caller that was not answered.
func turnsAndRepetitionsInOneCall(t *testing.T, f *fixture) {
	const attendances, turns = 70, 6 // more attendances than a statement has rows
	for n := range attendances {
		f.open(t, "acme", fmt.Sprint("r", n), fmt.Sprint("p", n))
	}
	for upTo := 1; upTo <= turns; upTo++ {
		var batch []store.Turn
		want := 0
		for number := int64(1); number <= attendances; number++ {
			// Every third attendance has nothing new in the even calls.
			known, now := upTo-1, upTo
			if number%3 == 0 {
				known, now = (upTo-1)/2*2, upTo/2*2
			}
			want += now - known
			for n := range now {
				batch = append(batch, turn(number, n))
			}
		}
		if len(batch) == 0 {
			continue
		}
		require.Equal(t, want, f.record(t, "acme", batch...), "call %d", upTo)
	}
	for number := int64(1); number <= attendances; number++ {
		require.Equal(t, int64(turns), f.attendance(t, "acme", number).Interactions)
		said := f.history(t, "acme", number)
		require.Len(t, said, turns)
		for n, items := range said {
			require.Equal(t, string(turn(number, n).Items), items, "in order")
		}
	}
}

func turnsOfAnotherInstance(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p").AttendanceID
	b := f.open(t, "other", "r1", "p").AttendanceID
	require.Equal(t, a, b, "the same number in both")
	mine := turn(a, 1)
	mine.Events = []store.Event{{Name: "e", Details: map[string]string{}, Time: start}}
	mine.Attributes = []store.Attribute{{Name: "cpf", Value: "1", Lookup: "1"}}
	f.record(t, "acme", mine)

	require.Zero(t, f.attendance(t, "other", b).Interactions)
	require.Empty(t, f.history(t, "other", b))
	require.Empty(t, f.events(t, "other", b))
	contacts, err := f.store.Contacts(t.Context(), "other", store.People{Attributes: []store.Lookup{{Name: "cpf", Form: "1"}}}, 2)
	require.NoError(t, err)
	require.Empty(t, contacts)
	known, err := f.store.Attributes(t.Context(), "other", []string{f.attendance(t, "acme", a).ContactID})
	require.NoError(t, err)
	require.Empty(t, known)
	require.Equal(t, 1, f.record(t, "other", mine), "each instance knows its own turns")
}

func manyTurnsInOneCall(t *testing.T, f *fixture) {
	const people, turns = 5, 100 // 500 in all: each size of statement is used
	var batch []store.Turn
	for p := range people {
		f.open(t, "acme", fmt.Sprint("r", p), fmt.Sprint("p", p))
	}
	for n := range turns {
		for p := range people {
			one := turn(int64(p+1), n)
			one.Events = []store.Event{{Name: fmt.Sprint("e", n), Details: map[string]string{"n": fmt.Sprint(n)}, Time: start}}
			one.Attributes = []store.Attribute{{Name: fmt.Sprint("a", n), Value: "x"}}
			batch = append(batch, one)
		}
	}
	require.Equal(t, len(batch), f.record(t, "acme", batch...))
	ids := make(map[int64]bool)
	for p := range people {
		number := int64(p + 1)
		got := f.attendance(t, "acme", number)
		require.Equal(t, int64(turns), got.Interactions)
		said := f.history(t, "acme", number)
		require.Len(t, said, turns)
		events := f.events(t, "acme", number)
		require.Len(t, events, turns)
		for n := range turns {
			require.Equal(t, string(turn(number, n).Items), said[n])
			require.Equal(t, fmt.Sprint("e", n), events[n].Name)
			ids[events[n].ID] = true
		}
		known, err := f.store.Attributes(t.Context(), "acme", []string{got.ContactID})
		require.NoError(t, err)
		require.Len(t, known[got.ContactID], turns)
	}
	require.Len(t, ids, people*turns)
	require.True(t, ids[1] && ids[people*turns], "numbers have no gap")
}

func anyTextIsKept(t *testing.T, f *fixture) {
	for n, text := range []string{
		"São João", "'; DROP TABLE attendance; --", `{"a":1}`, "100%_*", "\u202e\r\n\t", "🍇👩🏽‍🚀", `back\slash"quote`,
		strings.Repeat("ã", 256),
	} {
		opened := f.open(t, "acme", fmt.Sprint("r", n), text)
		one := turn(opened.AttendanceID, n)
		one.Items = []byte("\x00\xff" + text)
		one.Attributes = []store.Attribute{{Name: "name", Value: text}, {Name: "email", Value: text, Lookup: text}}
		one.Events = []store.Event{{Name: text, Details: map[string]string{text: text}, Time: start}}
		f.record(t, "acme", one)

		require.Equal(t, text, f.attendance(t, "acme", opened.AttendanceID).Identifier)
		require.Equal(t, []string{string(one.Items)}, f.history(t, "acme", opened.AttendanceID))
		require.Equal(t, one.Events[0].Details, f.events(t, "acme", opened.AttendanceID)[0].Details)
		contacts, err := f.store.Contacts(t.Context(), "acme", store.People{
			Identifier: &text, Attributes: []store.Lookup{{Name: "email", Form: text}},
		}, 2)
		require.NoError(t, err)
		require.Equal(t, []string{opened.ContactID}, contacts)
	}
}
