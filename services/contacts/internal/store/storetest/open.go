package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

func numbersAreGivenInOrder(t *testing.T, f *fixture) {
	last, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Zero(t, last)
	require.Zero(t, count)
	for n := int64(1); n <= 3; n++ {
		require.Equal(t, n, f.open(t, "acme", fmt.Sprint("r", n), "p").AttendanceID)
	}
	require.Equal(t, int64(1), f.open(t, "other", "r1", "p").AttendanceID, "each instance counts by itself")
	last, count, err = f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []int64{3, 3}, []int64{last, count})
}

func repeatedOpeningIsTheSame(t *testing.T, f *fixture) {
	first := f.open(t, "acme", "r1", "p")
	require.False(t, first.Repeated)
	require.NotNil(t, f.record(t, "acme", store.Turn{
		ID: "t", AttendanceID: first.AttendanceID, Items: []byte{}, Attributes: []store.Attribute{{Name: "name", Value: "Ana"}},
	}))
	again := f.open(t, "acme", "r1", "somebody else")
	require.Equal(t, store.Opened{
		AttendanceID: first.AttendanceID, InteractionID: first.InteractionID, ContactID: first.ContactID,
		Attributes: map[string]string{"name": "Ana"}, Repeated: true,
	}, again)
	require.Equal(t, first.AttendanceID+1, f.open(t, "acme", "r2", "p").AttendanceID, "a repetition takes no number")
	_, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, int64(2), count)

	contacts, err := f.store.Contacts(t.Context(), "acme", store.People{Identifier: ptr("somebody else")}, 2)
	require.NoError(t, err)
	require.Empty(t, contacts, "a repetition makes nobody known")

	got := f.attendance(t, "acme", first.AttendanceID)
	require.Equal(t, store.Attendance{
		ID: first.AttendanceID, InteractionID: first.InteractionID, ContactID: first.ContactID, Identifier: "p", AssistantID: 7,
		Source: "api", CreateTime: start,
	}, got)
}

func contactIsKeptForEver(t *testing.T, f *fixture) {
	first := f.open(t, "acme", "r1", "p")
	second := f.open(t, "acme", "r2", "p")
	require.Equal(t, first.ContactID, second.ContactID)
	require.NotEqual(t, first.InteractionID, second.InteractionID)
	require.NotEqual(t, first.ContactID, f.open(t, "acme", "r3", "P").ContactID, "identifiers are compared with case")
	require.NotEqual(t, first.ContactID, f.open(t, "acme", "r4", "p ").ContactID)
	require.NotEqual(t, first.ContactID, f.open(t, "other", "r1", "p").ContactID)
}

func openingsAtOnce(t *testing.T, f *fixture) {
	const callers = 16
	var mu sync.Mutex
	numbers := make(map[int64]bool)
	contacts := make(map[string]bool)
	var wg sync.WaitGroup
	for n := range callers {
		o := f.opening("acme", fmt.Sprint("r", n), "p")
		wg.Go(func() {
			opened, err := f.store.OpenAttendance(t.Context(), o)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				numbers[opened.AttendanceID] = true
				contacts[opened.ContactID] = true
			}
		})
	}
	wg.Wait()
	require.Len(t, contacts, 1)
	require.Len(t, numbers, callers)
	for n := int64(1); n <= callers; n++ {
		require.True(t, numbers[n])
	}
}

func sameOpeningAtOnce(t *testing.T, f *fixture) {
	const callers = 16
	answers := make([]store.Opened, callers)
	var wg sync.WaitGroup
	for n := range callers {
		o := f.opening("acme", "r", "p")
		wg.Go(func() { answers[n], _ = f.store.OpenAttendance(t.Context(), o) })
	}
	wg.Wait()
	for _, answer := range answers {
		require.Equal(t, int64(1), answer.AttendanceID)
		require.Equal(t, answers[0].InteractionID, answer.InteractionID)
		require.Equal(t, answers[0].ContactID, answer.ContactID)
	}
	last, count, err := f.store.Attendances(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []int64{1, 1}, []int64{last, count})
}

func ptr[T any](v T) *T { return &v }

// later is a moment after start.
func later(d time.Duration) time.Time { return start.Add(d) }
