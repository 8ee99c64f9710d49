package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// SQLite gives the number of a turn that was deleted to the next one. Whoever forgot that an attendance has lost its turns must not
// find those of another.
func TestHistoryAfterTurnsAreDeleted(t *testing.T) {
	s := New(testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "contacts")))
	for _, o := range []*opening{testOpening(1, "acme", "r1", "ana"), testOpening(2, "acme", "r2", "bia"), testOpening(3, "other", "r1", "ana")} {
		_, err := s.OpenAttendance(t.Context(), o.Opening)
		require.NoError(t, err)
	}
	record := func(instance string, number int64, ids ...string) {
		var turns []Turn
		for _, id := range ids {
			turns = append(turns, Turn{ID: id, AttendanceID: number, Items: []byte(id)})
		}
		fresh, _, err := s.RecordTurns(t.Context(), instance, turns)
		require.NoError(t, err)
		require.Equal(t, len(ids), fresh)
	}
	history := func(instance string) map[int64][][]byte {
		found, err := s.History(t.Context(), instance, []int64{1, 2})
		require.NoError(t, err)
		return found
	}
	remove := func(id string) {
		_, err := s.db.Exec1(t.Context(), `DELETE FROM turn WHERE instance = $1 AND turn_id = $2`, "acme", id)
		require.NoError(t, err)
	}
	record("acme", 1, "a1", "a2")
	remove("a2")
	record("acme", 2, "b1")
	require.Equal(t, map[int64][][]byte{2: {[]byte("b1")}}, history("acme"))

	record("acme", 1, "a3") // follows a2
	require.Equal(t, map[int64][][]byte{1: {[]byte("a3")}, 2: {[]byte("b1")}}, history("acme"))
	remove("a3")
	record("other", 1, "o1")
	require.Equal(t, map[int64][][]byte{2: {[]byte("b1")}}, history("acme"))
	require.Equal(t, map[int64][][]byte{1: {[]byte("o1")}}, history("other"))
}
