package storetest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// retire deletes what is old, to the end.
func retire(t *testing.T, s *store.Store, before time.Time) map[string]int64 {
	t.Helper()
	all := make(map[string]int64)
	for cursor, begun := "", false; cursor != "" || !begun; begun = true {
		next, deleted, err := s.Retire(t.Context(), "acme", before, cursor)
		require.NoError(t, err)
		for kind, n := range deleted {
			all[kind] += n
		}
		cursor = next
	}
	return all
}

// settleAgain delivers everything that is to be sent again.
func settleAgain(t *testing.T, s *store.Store, c *store.Channel, now time.Time) {
	t.Helper()
	for _, held := range claimRedeliveries(t, s, c, now, 100) {
		for more := true; more; {
			d := next(t, s, held.LaneKey)
			d.State = store.Delivered
			var err error
			more, err = s.SettleRedelivery(t.Context(), &d, held.Epoch, now)
			require.NoError(t, err)
		}
	}
}

var chainCases = []Case{
	{"a conversation holds together when what was sent again outlives the rest", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := lane(t, s, c, "i", 5, at(0))
		settleAll(t, s, c, store.Delivered, at(1))
		all := deliveries(t, s, key)
		sendAgain(t, s, all[1], at(20_000))
		sendAgain(t, s, all[3], at(20_000))
		require.EqualValues(t, 3, retire(t, s, at(10_000))["deliveries"])
		require.Equal(t, []int64{2, 4}, sequences(deliveries(t, s, key)), "pending again")
		settleAgain(t, s, c, at(20_001))
		lane(t, s, c, "i", 2, at(20_002))
		lane(t, s, c, "j", 1, at(20_002))
		require.Equal(t, []int64{2, 4, 6, 7}, sequences(deliveries(t, s, key)))
		_, listed := walk(t, s, store.DeliveryFilter{Instance: "acme", InteractionID: "i"}, 1)
		require.Len(t, listed, 4)
		n, err := s.CountLane(t.Context(), key)
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
		erased, pending, err := s.EraseLane(t.Context(), key)
		require.NoError(t, err)
		require.EqualValues(t, 4, erased)
		require.EqualValues(t, 2, pending)
		require.EqualValues(t, 1, backlog(t, s).Deliveries, "the other conversation's")
	}},
	{"whatever becomes of deliveries, their conversations are read whole", func(t *testing.T, s *store.Store) {
		const histories, steps = 12, 40
		c := create(t, s, "acme", 1)
		seed := uint64(time.Now().UnixNano())
		t.Log("seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for range histories {
			type kept struct {
				store.Delivery
				settled int // when, 0 while it is pending
			}
			present := map[string][]*kept{"i": nil, "j": nil, "k": nil}
			for step := range steps {
				now := 1000 * (step + 1)
				name := []string{"i", "j", "k"}[random.IntN(3)]
				key := store.LaneKey{Instance: "acme", EndpointID: c.ID, InteractionID: name}
				switch random.IntN(8) {
				case 0, 1, 2:
					before := len(deliveries(t, s, key))
					lane(t, s, c, name, 1+random.IntN(3), at(now))
					settleAll(t, s, c, store.Delivered, at(now))
					for _, d := range deliveries(t, s, key)[before:] {
						present[name] = append(present[name], &kept{d, now})
					}
				case 3, 4:
					if len(present[name]) > 0 {
						d := present[name][random.IntN(len(present[name]))]
						if d.settled > 0 {
							sendAgain(t, s, d.Delivery, at(now))
							d.settled = 0
						}
					}
				case 5:
					settleAgain(t, s, c, at(now))
					for _, all := range present {
						for _, d := range all {
							if d.settled == 0 {
								d.settled = now
							}
						}
					}
				case 6:
					before := now - 1000*random.IntN(steps/2)
					retire(t, s, at(before))
					for name, all := range present {
						present[name] = slices.DeleteFunc(all, func(d *kept) bool { return d.settled > 0 && d.settled < before })
					}
				case 7:
					if random.IntN(3) == 0 {
						n, _, err := s.EraseLane(t.Context(), key)
						require.NoError(t, err)
						require.EqualValues(t, len(present[name]), n)
						present[name] = nil
					}
				}
				for name, want := range present {
					var numbers []int64
					for _, d := range want {
						numbers = append(numbers, d.Sequence)
					}
					got := deliveries(t, s, store.LaneKey{Instance: "acme", EndpointID: c.ID, InteractionID: name})
					require.Equal(t, numbers, sequences(got))
					_, listed := walk(t, s, store.DeliveryFilter{Instance: "acme", InteractionID: name}, 2)
					var shown []int64
					for _, d := range listed {
						shown = append(shown, d.Sequence)
					}
					slices.Reverse(shown)
					require.Equal(t, numbers, shown)
				}
			}
			for name := range present {
				_, _, err := s.EraseLane(t.Context(), store.LaneKey{Instance: "acme", EndpointID: c.ID, InteractionID: name})
				require.NoError(t, err)
			}
		}
	}},
}

func sequences(all []store.Delivery) []int64 {
	var numbers []int64
	for _, d := range all {
		numbers = append(numbers, d.Sequence)
	}
	return numbers
}
