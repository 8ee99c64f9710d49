package contacts_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// Every filter and attribute alone, every two of them together, and many by chance, compared with looking at all attendances one by
// one.
func TestFiltersAndAttributesTogether(t *testing.T) {
	type filters = contactsv1.ContactFilters
	type attributes = contactsv1.ContactAttributes
	names := []string{"cpf", "phone", "email", "identification_number", "identification_number2", "identification_number3", "identification_number4"}
	spelled := map[string]string{"cpf": "123.456.789-09", "phone": "+55 (11) 98765-4321", "email": "Ana@Exemplo.com"}
	eachEngine(t, func(t *testing.T, f *fixture) {
		random := rand.New(rand.NewPCG(5, 6)) // always the same
		var list []*imported
		known := make(map[string]map[string]bool) // who has which attribute as asked for
		for n := range 80 {
			list = append(list, moved(n, func(a *imported) {
				a.Identifier, a.AssistantId = fmt.Sprint("p", random.IntN(8)), int64(1+random.IntN(3))
				a.Source = []string{"widget", "whatsapp"}[random.IntN(2)]
				// Around midnight in São Paulo, which is three o'clock in UTC.
				a.CreateTime = timestamppb.New(time.Date(2026, 2, 1+random.IntN(4), 3, 0, random.IntN(3)-1, 0, time.UTC))
				if known[a.Identifier] == nil {
					known[a.Identifier] = make(map[string]bool)
				}
				a.Attributes = make(map[string]string)
				for _, name := range names {
					if random.IntN(3) > 0 || known[a.Identifier][name] {
						a.Attributes[name] = "Z-9"
						if text, ok := spelled[name]; ok {
							a.Attributes[name] = text
						}
						known[a.Identifier][name] = true
					}
				}
			}))
		}
		f.importAll(t, "acme", list...)
		f.importAll(t, "other", list...)

		day := func(a *imported) string { return a.GetCreateTime().AsTime().Add(-3 * time.Hour).Format(time.DateOnly) }
		type choice struct {
			name  string
			apply func(*filters, *attributes)
			holds func(number int64, a *imported) bool
		}
		choices := []choice{
			{"id", func(f *filters, _ *attributes) { f.Id = ptr(int64(17)) }, func(number int64, _ *imported) bool { return number == 17 }},
			{"assistantId", func(f *filters, _ *attributes) { f.AssistantId = ptr(int64(2)) }, func(_ int64, a *imported) bool { return a.GetAssistantId() == 2 }},
			{"identifier", func(f *filters, _ *attributes) { f.Identifier = ptr("p3") }, func(_ int64, a *imported) bool { return a.GetIdentifier() == "p3" }},
			{"externalId", func(f *filters, _ *attributes) { f.ExternalId = ptr("ext-16") }, func(_ int64, a *imported) bool { return a.GetExternalId() == "ext-16" }},
			{"startDate", func(f *filters, _ *attributes) { f.StartDate = ptr("2026-02-01") }, func(_ int64, a *imported) bool { return day(a) >= "2026-02-01" }},
			{"endDate", func(f *filters, _ *attributes) { f.EndDate = ptr("2026-02-03") }, func(_ int64, a *imported) bool { return day(a) <= "2026-02-03" }},
			{"source", func(f *filters, _ *attributes) { f.Source = ptr("widget") }, func(_ int64, a *imported) bool { return a.GetSource() == "widget" }},
		}
		for _, one := range []struct {
			name  string
			apply func(*attributes)
		}{
			{"cpf", func(a *attributes) { a.Cpf = ptr("12345678909") }},
			{"phone", func(a *attributes) { a.Phone = ptr("55 11 98765 4321") }},
			{"email", func(a *attributes) { a.Email = ptr("ANA@exemplo.COM") }},
			{"identification_number", func(a *attributes) { a.IdentificationNumber = ptr("Z-9") }},
			{"identification_number2", func(a *attributes) { a.IdentificationNumber2 = ptr("Z-9") }},
			{"identification_number3", func(a *attributes) { a.IdentificationNumber3 = ptr("Z-9") }},
			{"identification_number4", func(a *attributes) { a.IdentificationNumber4 = ptr("Z-9") }},
		} {
			choices = append(choices, choice{
				one.name, func(_ *filters, a *attributes) { one.apply(a) },
				func(_ int64, a *imported) bool { return known[a.GetIdentifier()][one.name] },
			})
		}
		var sets []int
		for i := range choices {
			for j := range choices {
				sets = append(sets, 1<<i|1<<j)
			}
		}
		for range 200 {
			sets = append(sets, random.IntN(1<<len(choices))&random.IntN(1<<len(choices)))
		}
		slices.Sort(sets)
		found := 0
		for _, set := range slices.Compact(sets) {
			request := &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &filters{Limit: ptr(int32(500))}, Attributes: &attributes{}}
			var said []string
			for i, c := range choices {
				if set&(1<<i) != 0 {
					c.apply(request.Filters, request.Attributes)
					said = append(said, c.name)
				}
			}
			want := []int64{}
			for n := len(list) - 1; n >= 0; n-- {
				if !slices.ContainsFunc(choices, func(c choice) bool {
					return slices.Contains(said, c.name) && !c.holds(int64(n+1), list[n])
				}) {
					want = append(want, int64(n+1))
				}
			}
			found += len(want)
			response := f.query(t, request)
			require.Equal(t, want, numbers(response), strings.Join(said, ", "))
			require.Equal(t, int64(len(want)), response.GetResultCount())
		}
		require.Greater(t, found, 1000, "the queries find something")
	})
}
