package contacts_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// What does not lie in one piece in an index is walked over as everything else is: while attendances and events come, and when some go.
func TestWalksOverWhatIsPicked(t *testing.T) {
	for name, narrow := range map[string]func(*contactsv1.QueryContactsRequest){
		"assistant and source": func(r *contactsv1.QueryContactsRequest) {
			r.Filters.AssistantId, r.Filters.Source = ptr(int64(1)), ptr("api")
		},
		"source and days": func(r *contactsv1.QueryContactsRequest) {
			r.Filters.Source, r.Filters.StartDate = ptr("api"), ptr("2026-02-01")
		},
		"days with others between": func(r *contactsv1.QueryContactsRequest) { r.Filters.StartDate = ptr("2026-02-01") },
		"persons with one phone": func(r *contactsv1.QueryContactsRequest) {
			r.Attributes = &contactsv1.ContactAttributes{Phone: ptr("111")}
		},
		"many persons with one number": func(r *contactsv1.QueryContactsRequest) {
			r.Attributes = &contactsv1.ContactAttributes{IdentificationNumber: ptr("many")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				opened := 0
				open := func() {
					n := opened
					opened++
					person := fmt.Sprint("p", n%20)
					number := f.open(t, "acme", person, func(r *contactsv1.OpenAttendanceRequest) {
						if n%3 == 1 {
							r.Time = timestamppb.New(start.Add(-2000 * time.Hour))
						}
						if n%5 == 1 {
							r.Source = "agent"
						}
						r.AssistantId = int64(1 + n%7/6)
					}).GetAttendanceId()
					one := turn(number, fmt.Sprint(n))
					one.Attributes = map[string]string{"identification_number": "many"}
					if n%20 < 3 {
						one.Attributes["phone"] = "111"
					}
					f.record(t, "acme", one)
				}
				for range 60 {
					open()
				}
				request := func(limit int32) *contactsv1.QueryContactsRequest {
					r := &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: &limit}}
					narrow(r)
					return r
				}
				want := numbers(f.query(t, request(500)))
				require.Greater(t, len(want), 8)
				require.Less(t, len(want), 61)
				require.Equal(t, want, walkAll(t, f, request(4), func(int) { open() }))

				// One is deleted in the middle of a walk: only it is missing.
				all := numbers(f.query(t, request(500)))
				gone := all[len(all)-2]
				var seen []int64
				for r, page := request(3), 0; ; page++ {
					response := f.query(t, r)
					seen = append(seen, numbers(response)...)
					if page == 0 {
						_, err := f.db.Exec1(t.Context(), `DELETE FROM attendance WHERE instance = $1 AND id = $2`, "acme", gone)
						require.NoError(t, err)
						_, err = f.db.Exec1(t.Context(), `UPDATE counter SET live = live - 1 WHERE instance = $1 AND name = 'attendance'`, "acme")
						require.NoError(t, err)
					}
					if response.Pagination == nil {
						break
					}
					r.Pagination = response.GetPagination()
				}
				require.Equal(t, append(all[:len(all)-2:len(all)-2], all[len(all)-1]), seen)
				after := f.query(t, request(500))
				require.Equal(t, seen, numbers(after))
				require.Equal(t, int64(len(seen)), after.GetResultCount(), "the next walk counts anew")
			})
		})
	}
}
