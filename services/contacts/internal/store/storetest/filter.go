package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

// filtersFindWhatTheySay compares every combination of filters with looking at all attendances one by one.
func filtersFindWhatTheySay(t *testing.T, f *fixture) {
	random := rand.New(rand.NewPCG(1, 2)) // always the same
	const attendances = 120
	var all []store.Attendance
	for n := range attendances {
		o := f.opening("acme", fmt.Sprint("r", n), fmt.Sprint("p", random.IntN(6)))
		o.AssistantID = int64(1 + random.IntN(3))
		o.Source = []string{"api", "api_channel", "widget"}[random.IntN(3)]
		// Not in the order of the numbers, and with equal times.
		o.Time = later(time.Duration(random.IntN(20)) * time.Minute)
		opened, err := f.store.OpenAttendance(t.Context(), o)
		require.NoError(t, err)
		if random.IntN(4) == 0 || n == 16 {
			_, err := f.db.Exec1(t.Context(), `UPDATE attendance SET external_id = $3 WHERE instance = $1 AND id = $2`,
				"acme", opened.AttendanceID, fmt.Sprint("x", n))
			require.NoError(t, err)
		}
		all = append(all, f.attendance(t, "acme", opened.AttendanceID))
		f.open(t, "other", fmt.Sprint("r", n), "p1")
	}
	contact := all[0].ContactID
	other := all[1].ContactID

	choices := []struct {
		apply func(*store.Filter)
		holds func(store.Attendance) bool
	}{
		{func(f *store.Filter) { f.ID = ptr(int64(17)) }, func(a store.Attendance) bool { return a.ID == 17 }},
		{func(f *store.Filter) { f.AssistantID = ptr(int64(2)) }, func(a store.Attendance) bool { return a.AssistantID == 2 }},
		{func(f *store.Filter) { f.Source = ptr("api") }, func(a store.Attendance) bool { return a.Source == "api" }},
		{func(f *store.Filter) { f.ExternalID = ptr("x16") }, func(a store.Attendance) bool { return a.ExternalID != nil && *a.ExternalID == "x16" }},
		{func(f *store.Filter) { f.From = ptr(later(3 * time.Minute).UnixMicro()) }, func(a store.Attendance) bool { return !a.CreateTime.Before(later(3 * time.Minute)) }},
		{func(f *store.Filter) { f.Until = ptr(later(15 * time.Minute).UnixMicro()) }, func(a store.Attendance) bool { return a.CreateTime.Before(later(15 * time.Minute)) }},
		{func(f *store.Filter) { f.Contacts = []string{contact} }, func(a store.Attendance) bool { return a.ContactID == contact }},
		{func(f *store.Filter) { f.Contacts = []string{contact, other} }, func(a store.Attendance) bool { return a.ContactID == contact || a.ContactID == other }},
		{func(f *store.Filter) { f.Low, f.High = 11, 90 }, func(a store.Attendance) bool { return a.ID >= 11 && a.ID <= 90 }},
	}
	for set := range 1 << len(choices) {
		filter := store.Filter{Instance: "acme", Low: 1, High: attendances}
		want := []int64{}
		for n := len(all) - 1; n >= 0; n-- {
			holds := true
			for i, c := range choices {
				if set&(1<<i) != 0 && (i != 6 || set&(1<<7) == 0) { // of the two lists of persons the longer one is used
					holds = holds && c.holds(all[n])
				}
			}
			if holds {
				want = append(want, all[n].ID)
			}
		}
		for i, c := range choices {
			if set&(1<<i) != 0 {
				c.apply(&filter)
			}
		}
		page, err := f.store.Page(t.Context(), filter, attendances+1)
		require.NoError(t, err, "%b", set)
		got := []int64{}
		for _, a := range page {
			got = append(got, a.ID)
			require.Equal(t, all[a.ID-1], a)
		}
		require.Equal(t, want, got, "%b", set)
		short, err := f.store.Page(t.Context(), filter, 3)
		require.NoError(t, err, "%b", set)
		require.Len(t, short, min(3, len(want)), "%b", set)

		extent, err := f.store.Measure(t.Context(), filter)
		require.NoError(t, err, "%b", set)
		measure := store.Extent{Count: int64(len(want))}
		if len(want) > 0 {
			measure.Low, measure.High = slices.Min(want), slices.Max(want)
		}
		require.Equal(t, measure, extent, "%b", set)
	}
}

func weightsCountHistoryAndEvents(t *testing.T, f *fixture) {
	a, b := f.open(t, "acme", "r1", "p").AttendanceID, f.open(t, "acme", "r2", "p").AttendanceID
	one, two := turn(a, 1), turn(a, 2)
	one.Items, two.Items = make([]byte, 1000), make([]byte, 500)
	two.Events = []store.Event{{Name: "e", Details: map[string]string{"k": "v"}, Time: start}}
	f.record(t, "acme", one, two)
	weights, err := f.store.Weights(t.Context(), "acme", []int64{a, b})
	require.NoError(t, err)
	require.Greater(t, weights[a], int64(1500))
	require.Less(t, weights[a], int64(1800))
	require.Zero(t, weights[b])
}
