package contacts_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// The same query is counted again and again, while attendances come and go, and each count is right.
func TestCountsStayRight(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		open := func(source string, days int) int64 {
			return f.open(t, "acme", "ana", func(r *contactsv1.OpenAttendanceRequest) {
				r.Source, r.Time = source, timestamppb.New(start.Add(time.Duration(days)*24*time.Hour))
			}).GetAttendanceId()
		}
		remove := func(number int64) {
			_, err := f.db.Exec1(t.Context(), `DELETE FROM attendance WHERE instance = $1 AND id = $2`, "acme", number)
			require.NoError(t, err)
			_, err = f.db.Exec1(t.Context(), `UPDATE counter SET live = live - 1 WHERE instance = $1 AND name = $2`, "acme", "attendance")
			require.NoError(t, err)
		}
		check := func(everything, api, second []int64) {
			t.Helper()
			for range 2 {
				for _, test := range []struct {
					filters *contactsv1.ContactFilters
					want    []int64
				}{
					{nil, everything}, {&contactsv1.ContactFilters{Source: ptr("api")}, api},
					{&contactsv1.ContactFilters{StartDate: ptr("2026-03-02"), EndDate: ptr("2026-03-02")}, second},
				} {
					response := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: test.filters})
					require.Equal(t, test.want, numbers(response))
					require.Equal(t, int64(len(test.want)), response.GetResultCount())
				}
			}
		}
		check([]int64{}, []int64{}, []int64{})
		one, two := open("api", 0), open("agent", 1)
		check([]int64{two, one}, []int64{one}, []int64{two})
		three := open("api", 1)
		check([]int64{three, two, one}, []int64{three, one}, []int64{three, two})
		remove(one)
		check([]int64{three, two}, []int64{three}, []int64{three, two})
		four := open("api", 0)
		remove(three)
		check([]int64{four, two}, []int64{four}, []int64{two})
		remove(two)
		remove(four)
		check([]int64{}, []int64{}, []int64{})
		five := open("api", 1)
		check([]int64{five}, []int64{five}, []int64{five})
	})
}
