package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

// eventFiltersFindWhatTheySay compares every combination of filters, in both orders, with looking at all events one by one.
func eventFiltersFindWhatTheySay(t *testing.T, f *fixture) {
	random := rand.New(rand.NewPCG(3, 4)) // always the same
	const attendances, events = 12, 150
	for n := range attendances {
		o := f.opening("acme", fmt.Sprint("r", n), fmt.Sprint("p", n%4))
		o.AssistantID, o.Source = int64(1+n%3), []string{"api", "whatsapp"}[n%2]
		_, err := f.store.OpenAttendance(t.Context(), o)
		require.NoError(t, err)
		f.open(t, "other", fmt.Sprint("r", n), fmt.Sprint("p", n%4))
	}
	var all []store.Event
	for n := range events {
		number := int64(1 + random.IntN(attendances))
		e := store.Event{
			Name: []string{"transbordo", "encerramento", "e3"}[random.IntN(3)], Details: map[string]string{"n": fmt.Sprint(n)},
			Time: later(time.Duration(random.IntN(20)) * time.Minute), // not in the order of the numbers
		}
		if random.IntN(3) == 0 {
			e.ExternalID, e.Extra1 = ptr(fmt.Sprint("x", random.IntN(3))), ptr("one")
		}
		if random.IntN(3) == 0 {
			e.Extra2 = ptr("")
		}
		one := turn(number, 1000+n)
		one.Events = []store.Event{e}
		f.record(t, "acme", one)
		f.record(t, "other", one)
		given := f.events(t, "acme", number)
		e.ID, e.AttendanceID, e.AssistantID, e.Source = int64(n+1), number, 1+(number-1)%3, []string{"api", "whatsapp"}[(number-1)%2]
		e.TypeID = given[len(given)-1].TypeID
		all = append(all, e)
	}
	person := func(e store.Event) string { return fmt.Sprint("p", (e.AttendanceID-1)%4) }
	choices := []struct {
		apply func(*store.EventFilter)
		holds func(store.Event) bool
	}{
		{func(f *store.EventFilter) { f.AssistantID = ptr(int64(2)) }, func(e store.Event) bool { return e.AssistantID == 2 }},
		{func(f *store.EventFilter) { f.AttendanceID = ptr(int64(5)) }, func(e store.Event) bool { return e.AttendanceID == 5 }},
		{func(f *store.EventFilter) { f.Identifier = ptr("p0") }, func(e store.Event) bool { return person(e) == "p0" }},
		{func(f *store.EventFilter) { f.ExternalID = ptr("x1") }, func(e store.Event) bool { return e.ExternalID != nil && *e.ExternalID == "x1" }},
		{func(f *store.EventFilter) { f.Name = ptr("transbordo") }, func(e store.Event) bool { return e.Name == "transbordo" }},
		{func(f *store.EventFilter) { f.From = ptr(later(3 * time.Minute).UnixMicro()) }, func(e store.Event) bool { return !e.Time.Before(later(3 * time.Minute)) }},
		{func(f *store.EventFilter) { f.Until = ptr(later(15 * time.Minute).UnixMicro()) }, func(e store.Event) bool { return e.Time.Before(later(15 * time.Minute)) }},
		{func(f *store.EventFilter) { f.Low, f.High = 11, 130 }, func(e store.Event) bool { return e.ID >= 11 && e.ID <= 130 }},
	}
	for set := range 1 << len(choices) {
		filter := store.EventFilter{Instance: "acme", Low: 1, High: events}
		want := []store.Event{}
		for _, e := range all {
			holds := true
			for i, c := range choices {
				if set&(1<<i) != 0 {
					holds = holds && c.holds(e)
				}
			}
			if holds {
				want = append(want, e)
			}
		}
		for i, c := range choices {
			if set&(1<<i) != 0 {
				c.apply(&filter)
			}
		}
		measure := store.Extent{Count: int64(len(want))}
		if len(want) > 0 {
			measure.Low, measure.High = want[0].ID, want[len(want)-1].ID
		}
		extent, err := f.store.MeasureEvents(t.Context(), filter)
		require.NoError(t, err, "%b", set)
		require.Equal(t, measure, extent, "%b", set)
		for _, ascending := range []bool{true, false} {
			page, more, err := f.store.EventPage(t.Context(), filter, ascending, events, 1<<20)
			require.NoError(t, err, "%b", set)
			require.False(t, more)
			require.Equal(t, want, append([]store.Event{}, page...), "%b", set)
			short, more, err := f.store.EventPage(t.Context(), filter, ascending, 3, 1<<20)
			require.NoError(t, err, "%b", set)
			require.Equal(t, want[:min(3, len(want))], append([]store.Event{}, short...), "%b", set)
			require.Equal(t, len(want) > 3, more)
			slices.Reverse(want)
		}
	}
	nobody, _, err := f.store.EventPage(t.Context(), store.EventFilter{Instance: "acme", Low: 1, High: events, Name: ptr("never")}, true, 9, 1)
	require.NoError(t, err)
	require.Empty(t, nobody)
	last, count, err := f.store.EventNumbers(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []int64{events, events}, []int64{last, count})
	last, count, err = f.store.EventNumbers(t.Context(), "nobody")
	require.NoError(t, err)
	require.Equal(t, []int64{0, 0}, []int64{last, count})
}

func eventPagesEndEarly(t *testing.T, f *fixture) {
	a := f.open(t, "acme", "r1", "p").AttendanceID
	one := turn(a, 1)
	for range 10 {
		one.Events = append(one.Events, store.Event{Name: "e", Details: map[string]string{"k": strings.Repeat("x", 1000)}, Time: start})
	}
	f.record(t, "acme", one)
	filter := store.EventFilter{Instance: "acme", Low: 1, High: 10}
	for maxBytes, want := range map[int64]int{1: 1, 2_500: 2, 100_000: 10} {
		page, more, err := f.store.EventPage(t.Context(), filter, true, 100, maxBytes)
		require.NoError(t, err)
		require.Len(t, page, want)
		require.Equal(t, want < 10, more)
	}
}
