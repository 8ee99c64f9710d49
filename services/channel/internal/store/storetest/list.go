package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

// timed makes a lane with n deliveries whose ids say when they were made.
func timed(t *testing.T, s *store.Store, c *store.Channel, contact, interaction string, n int, now time.Time) {
	t.Helper()
	made := clock.NewManual(now)
	ids := id.NewSource(made, nil)
	m := message(c, "person of "+interaction, "oi", now)
	accepted, err := s.Accept(t.Context(), m, nil, now.Add(lease))
	require.NoError(t, err)
	turn := &store.Turn{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, Seq: accepted.Held.Seq, ContactID: contact, InteractionID: interaction}
	for range n {
		turn.Answer = append(turn.Answer, store.Outgoing{ID: ids.NewOrdered(), Body: []byte("{}")})
		made.Advance(64) // nanoseconds, what tells ids apart
	}
	_, err = s.FinishTurn(t.Context(), turn, now)
	require.NoError(t, err)
}

// walk lists page by page and gives what a page was asked for: how many it had,
// and all of them.
func walk(t *testing.T, s *store.Store, f store.DeliveryFilter, size int) (pages []int, all []store.Listed) {
	t.Helper()
	var after *store.DeliveryPlace
	for {
		page, err := s.ListDeliveries(t.Context(), f, after, size)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Deliveries), size)
		pages, all = append(pages, len(page.Deliveries)), append(all, page.Deliveries...)
		if page.Next == nil {
			return pages, all
		}
		after = page.Next
	}
}

func names(all []store.Listed) []string {
	result := make([]string, len(all))
	for i, d := range all {
		result[i] = fmt.Sprint(d.EndpointID[23:], d.InteractionID, d.Sequence)
	}
	return result
}

var listCases = []Case{
	{"deliveries are listed by every filter, the newest first", func(t *testing.T, s *store.Store) {
		c1, c2 := create(t, s, "acme", 1), create(t, s, "acme", 2)
		stranger := create(t, s, "other", 3)
		for i, c := range []*store.Channel{c1, c2, stranger} {
			for j := range 3 {
				timed(t, s, c, fmt.Sprint("p", j), fmt.Sprint("i", j), 1, at(1000*(10*i+j)))
			}
		}
		timed(t, s, c1, "p1", "i1", 1, at(50_000))
		settleAll(t, s, c2, store.Dead, at(60_000))
		held := claimLanes(t, s, c1, at(60_000), 1)[0] // i0
		d := held.Pending[0]
		d.State, d.AttemptCount, d.Attempts = store.Delivered, 1, []byte(`[{"statusCode":200}]`)
		_, err := s.Settle(t.Context(), &d, held.Epoch, at(61_000))
		require.NoError(t, err)

		newest := []string{"1i12", "2i21", "2i11", "2i01", "1i21", "1i11", "1i01"}
		for name, test := range map[string]struct {
			filter store.DeliveryFilter
			want   []string
		}{
			"all":                       {store.DeliveryFilter{}, newest},
			"endpoint":                  {store.DeliveryFilter{EndpointID: c1.ID}, []string{"1i12", "1i21", "1i11", "1i01"}},
			"another's endpoint":        {store.DeliveryFilter{EndpointID: stranger.ID}, nil},
			"contact":                   {store.DeliveryFilter{ContactID: "p1"}, []string{"1i12", "2i11", "1i11"}},
			"interaction":               {store.DeliveryFilter{InteractionID: "i1"}, []string{"1i12", "1i11", "2i11"}},
			"interaction and endpoint":  {store.DeliveryFilter{InteractionID: "i1", EndpointID: c1.ID}, []string{"1i12", "1i11"}},
			"interaction and sequence":  {store.DeliveryFilter{InteractionID: "i1", Sequence: 1}, []string{"1i11", "2i11"}},
			"interaction and state":     {store.DeliveryFilter{InteractionID: "i1", States: []store.DeliveryState{store.Dead}}, []string{"2i11"}},
			"no interaction":            {store.DeliveryFilter{InteractionID: "nothing"}, nil},
			"sequence":                  {store.DeliveryFilter{Sequence: 2}, []string{"1i12"}},
			"dead":                      {store.DeliveryFilter{States: []store.DeliveryState{store.Dead}}, []string{"2i21", "2i11", "2i01"}},
			"dead of an endpoint":       {store.DeliveryFilter{EndpointID: c2.ID, States: []store.DeliveryState{store.Dead}}, []string{"2i21", "2i11", "2i01"}},
			"dead of another endpoint":  {store.DeliveryFilter{EndpointID: c1.ID, States: []store.DeliveryState{store.Dead}}, nil},
			"dead of a contact":         {store.DeliveryFilter{ContactID: "p0", States: []store.DeliveryState{store.Dead}}, []string{"2i01"}},
			"delivered":                 {store.DeliveryFilter{States: []store.DeliveryState{store.Delivered}}, []string{"1i01"}},
			"several states":            {store.DeliveryFilter{States: []store.DeliveryState{store.Delivered, store.Pending}}, []string{"1i12", "1i21", "1i11", "1i01"}},
			"from":                      {store.DeliveryFilter{Start: at(11_000)}, []string{"1i12", "2i21", "2i11"}},
			"a moment later":            {store.DeliveryFilter{Start: at(11_000).Add(time.Microsecond)}, []string{"1i12", "2i21"}},
			"until":                     {store.DeliveryFilter{End: at(1_000)}, []string{"1i01"}},
			"until a moment later":      {store.DeliveryFilter{End: at(1_000).Add(time.Microsecond)}, []string{"1i11", "1i01"}},
			"range of the dead":         {store.DeliveryFilter{Start: at(10_500), End: at(11_500), States: []store.DeliveryState{store.Dead}}, []string{"2i11"}},
			"range of an interaction":   {store.DeliveryFilter{InteractionID: "i1", Start: at(5_000), End: at(20_000)}, []string{"2i11"}},
			"range that holds nothing":  {store.DeliveryFilter{Start: at(100_000)}, nil},
			"range before all times":    {store.DeliveryFilter{End: time.Unix(-1, 0)}, nil},
			"everything, and too exact": {store.DeliveryFilter{EndpointID: c1.ID, ContactID: "p2", InteractionID: "i2", Sequence: 2}, nil},
		} {
			for size := 1; size <= 8; size++ {
				test.filter.Instance = "acme"
				_, all := walk(t, s, test.filter, size)
				require.Equal(t, test.want, slices.Clip(append([]string(nil), names(all)...)), "%s, %d a page", name, size)
			}
		}
		pages, all := walk(t, s, store.DeliveryFilter{Instance: "acme"}, 7)
		require.Equal(t, []int{7}, pages, "no empty page behind the last")
		require.JSONEq(t, `[{"statusCode":200}]`, string(all[6].Attempts))
		require.Equal(t, "p0", all[6].ContactID)
		require.Equal(t, at(0), all[6].CreateTime)
		require.Nil(t, all[6].Body)
		require.Zero(t, all[6].NextTime)
		require.Nil(t, all[0].Attempts)
	}},
	{"a page ends when it has looked at enough, and the walk goes on", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		timed(t, s, c, "rare", "first", 2, at(0))
		timed(t, s, c, "often", "i", 12_000, at(1000))
		pages, all := walk(t, s, store.DeliveryFilter{Instance: "acme", ContactID: "rare"}, 100)
		require.Equal(t, []int{0, 0, 2}, pages)
		require.Equal(t, []string{"1first2", "1first1"}, names(all))
		pages, all = walk(t, s, store.DeliveryFilter{Instance: "acme", ContactID: "often"}, 500)
		require.Len(t, all, 12_000)
		require.Len(t, pages, 24)
		pages, _ = walk(t, s, store.DeliveryFilter{Instance: "acme", InteractionID: "i", ContactID: "rare"}, 100)
		require.Equal(t, []int{0, 0, 0}, pages)
	}},
	{"a page ends when its attempts are long", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		timed(t, s, c, "p", "i", 4, at(0))
		held := claimLanes(t, s, c, at(1), 1)[0]
		for i, size := range []int{100, 600_000, 600_000, 1_200_000} {
			d := held.Pending[i]
			d.State, d.Attempts = store.Delivered, []byte(`["`+string(slices.Repeat([]byte("x"), size))+`"]`)
			_, err := s.Settle(t.Context(), &d, held.Epoch, at(2))
			require.NoError(t, err)
		}
		pages, all := walk(t, s, store.DeliveryFilter{Instance: "acme"}, 10)
		require.Equal(t, []int{1, 1, 2}, pages)
		require.Len(t, all, 4)
	}},
	{"a delivery says when it is due", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		timed(t, s, c, "p", "i", 3, at(0))
		due := func() (times []time.Time) {
			_, all := walk(t, s, store.DeliveryFilter{Instance: "acme", InteractionID: "i"}, 10)
			for _, d := range all {
				got, err := s.Delivery(t.Context(), "acme", d.ID)
				require.NoError(t, err)
				require.Equal(t, d, got)
				times = append([]time.Time{d.NextTime}, times...)
			}
			return times
		}
		never := time.Time{}
		require.Equal(t, []time.Time{at(0), never, never}, due(), "one after the other")
		held := claimLanes(t, s, c, at(1), 1)[0]
		require.Equal(t, []time.Time{never, never, never}, due(), "it is being sent")
		require.NoError(t, s.Retry(t.Context(), &held.Pending[0], held.Epoch, at(5000)))
		require.Equal(t, []time.Time{at(5000), never, never}, due())
		settleAll(t, s, c, store.Dead, at(5000))
		require.Equal(t, []time.Time{never, never, never}, due())
		for _, d := range held.Pending[1:] {
			sendAgain(t, s, d, at(6000))
		}
		require.Equal(t, []time.Time{never, at(6000), never}, due())
		again := claimRedeliveries(t, s, c, at(6000), 1)[0]
		require.Equal(t, []time.Time{never, never, never}, due())
		d := next(t, s, again.LaneKey)
		require.NoError(t, s.RetryRedelivery(t.Context(), &d, again.Epoch, at(9000)))
		require.Equal(t, []time.Time{never, at(9000), never}, due())

		_, err := s.Delivery(t.Context(), "other", d.ID)
		require.ErrorIs(t, err, store.ErrDeliveryNotFound)
		_, err = s.Delivery(t.Context(), "acme", "nothing")
		require.ErrorIs(t, err, store.ErrDeliveryNotFound)
	}},
	{"a walk shows each delivery that was there once, whatever comes meanwhile", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		for i := range 20 {
			timed(t, s, c, "p", fmt.Sprint("i", i%3), 2, at(10*i))
		}
		seen := map[string]int{}
		var after *store.DeliveryPlace
		for i := 0; ; i++ {
			page, err := s.ListDeliveries(t.Context(), store.DeliveryFilter{Instance: "acme"}, after, 7)
			require.NoError(t, err)
			for _, d := range page.Deliveries {
				seen[d.ID]++
			}
			if page.Next == nil {
				break
			}
			after = page.Next
			timed(t, s, c, "p", "i0", 1, at(1000+i))
		}
		require.Len(t, seen, 40)
		for _, n := range seen {
			require.Equal(t, 1, n)
		}
	}},
}
