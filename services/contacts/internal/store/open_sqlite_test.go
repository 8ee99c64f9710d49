package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// testOpening is an opening that brings the identifiers i<n> and c<n>.
func testOpening(n int, instance, request, identifier string) *opening {
	return &opening{Opening: Opening{
		Instance: instance, RequestID: request, InteractionID: fmt.Sprint("i", n), ContactID: fmt.Sprint("c", n),
		Identifier: identifier, AssistantID: 7, Source: "api", Time: time.Unix(1_700_000_000, 0),
	}}
}

// Openings of one batch know nothing of each other, but find what is there before, and what the batch itself has opened.
func TestOpeningsOfOneBatch(t *testing.T) {
	s := New(testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "contacts")))
	first, err := s.OpenAttendance(t.Context(), testOpening(0, "acme", "r0", "ana").Opening)
	require.NoError(t, err)
	_, _, err = s.RecordTurns(t.Context(), "acme", []Turn{{
		ID: "t", AttendanceID: first.AttendanceID, Items: []byte{}, Attributes: []Attribute{{Name: "name", Value: "Ana"}, {Name: "k", Value: "v"}},
	}})
	require.NoError(t, err)
	known := map[string]string{"name": "Ana", "k": "v"}
	none := map[string]string{}

	batch := []*opening{
		testOpening(1, "acme", "r1", "bia"),
		testOpening(2, "acme", "r0", "bia"), // opened before, for somebody else
		testOpening(3, "other", "r1", "ana"),
		testOpening(4, "acme", "r2", "ana"),
		testOpening(5, "acme", "r3", "bia"),
		testOpening(6, "acme", "r1", "bia"), // opened in this batch
		testOpening(7, "other", "r0", "ana"),
	}
	want := []Opened{
		{AttendanceID: 2, InteractionID: "i1", ContactID: "c1"},
		{AttendanceID: 1, InteractionID: "i0", ContactID: "c0", Attributes: known, Repeated: true},
		{AttendanceID: 1, InteractionID: "i3", ContactID: "c3"},
		{AttendanceID: 3, InteractionID: "i4", ContactID: "c0", Attributes: known},
		{AttendanceID: 4, InteractionID: "i5", ContactID: "c1", Attributes: none},
		{AttendanceID: 2, InteractionID: "i1", ContactID: "c1", Attributes: none, Repeated: true},
		{AttendanceID: 2, InteractionID: "i7", ContactID: "c3", Attributes: none},
	}
	require.NoError(t, s.db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return openAll(ctx, tx, batch) }))
	for n, o := range batch {
		require.Equal(t, want[n], o.opened, "%d", n)
	}
	for instance, opened := range map[string]int64{"acme": 4, "other": 2} {
		last, count, err := s.Attendances(t.Context(), instance)
		require.NoError(t, err)
		require.Equal(t, []int64{opened, opened}, []int64{last, count}, instance)
		page, err := s.Page(t.Context(), Filter{Instance: instance, Low: 1, High: 99}, 10)
		require.NoError(t, err)
		require.Len(t, page, int(opened), instance)
	}
}

func TestManyOpeningsOfOneBatch(t *testing.T) {
	s := New(testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "contacts")))
	const openings = 199 // each size of statement is used
	for _, repeated := range []bool{false, true} {
		var batch []*opening
		for n := range openings {
			brought := n
			if repeated {
				brought += openings
			}
			batch = append(batch, testOpening(brought, "acme", fmt.Sprint("r", n), fmt.Sprint("p", n)))
		}
		require.NoError(t, s.db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return openAll(ctx, tx, batch) }))
		for n, o := range batch {
			require.Equal(t, repeated, o.opened.Repeated)
			require.Equal(t, int64(n+1), o.opened.AttendanceID)
			require.Equal(t, fmt.Sprint("i", n), o.opened.InteractionID)
			require.Equal(t, fmt.Sprint("c", n), o.opened.ContactID)
		}
	}
}
