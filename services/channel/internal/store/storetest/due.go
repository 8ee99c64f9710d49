package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

var dueCases = []Case{
	{"what waits for a later time is made due, what is held is not", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "acme", 2)
		waiting, held, stranger := lane(t, s, c, "i1", 1, at(10)), lane(t, s, c, "i2", 1, at(10)), lane(t, s, other, "i1", 1, at(10))
		for _, channel := range []*store.Channel{c, other} {
			for _, l := range claimLanes(t, s, channel, at(20), 10) {
				if l.LaneKey == held {
					continue
				}
				head := deliveries(t, s, l.LaneKey)[0]
				head.AttemptCount, head.Attempts = 1, []byte(`[{}]`)
				require.NoError(t, s.Retry(t.Context(), &head, l.Epoch, at(20).Add(time.Hour)))
			}
		}
		require.Empty(t, claimLanes(t, s, c, at(30), 10))
		done, err := s.Due(t.Context(), store.Endpoint{Instance: "other", ID: c.ID}, at(30))
		require.NoError(t, err)
		require.True(t, done)
		require.Empty(t, claimLanes(t, s, c, at(30), 10), "another instance's call changes nothing")

		done, err = s.Due(t.Context(), endpoint(c), at(30))
		require.NoError(t, err)
		require.True(t, done)
		lanes := claimLanes(t, s, c, at(30), 10)
		require.Len(t, lanes, 1)
		require.Equal(t, waiting, lanes[0].LaneKey)
		require.Equal(t, 1, deliveries(t, s, waiting)[0].AttemptCount, "what was tried stays known")
		require.Empty(t, claimLanes(t, s, other, at(30), 10), "another channel's lanes wait on")
		require.Len(t, deliveries(t, s, stranger), 1)
	}},
	{"making lanes due goes by batches", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		const batch = 500
		for i := range batch {
			lane(t, s, c, fmt.Sprint("i", i), 1, at(10))
		}
		done, err := s.Due(t.Context(), endpoint(c), at(5))
		require.NoError(t, err)
		require.False(t, done, "a full batch may not be all")
		done, err = s.Due(t.Context(), endpoint(c), at(5))
		require.NoError(t, err)
		require.True(t, done)
		require.Len(t, claimLanes(t, s, c, at(5), batch+1), batch)
	}},
}
