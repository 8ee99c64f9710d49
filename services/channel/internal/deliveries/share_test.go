package deliveries

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

func TestPlacesAreSharedByInstanceAndThenByEndpoint(t *testing.T) {
	acme := []store.Endpoint{{Instance: "acme", ID: "a"}, {Instance: "acme", ID: "b"}, {Instance: "acme", ID: "c"}}
	other := store.Endpoint{Instance: "other", ID: "x"}
	for name, test := range map[string]struct {
		ready    []store.Endpoint
		rooms    map[string]int // of an endpoint, else 4
		instance map[string]int // room of an instance, else 100
		free     int
		turn     int
		want     map[string]int
	}{
		"nobody is ready":                  {nil, nil, nil, 10, 3, map[string]int{}},
		"nothing free":                     {acme, nil, nil, 0, 0, map[string]int{}},
		"room for all":                     {acme, nil, nil, 100, 0, map[string]int{"a": 4, "b": 4, "c": 4}},
		"the same for each":                {acme, nil, nil, 6, 0, map[string]int{"a": 2, "b": 2, "c": 2}},
		"what one cannot take others get":  {acme, map[string]int{"a": 1}, nil, 6, 0, map[string]int{"a": 1, "b": 3, "c": 2}},
		"a full one gets nothing":          {acme, map[string]int{"a": 0}, nil, 6, 0, map[string]int{"b": 3, "c": 3}},
		"fewer than endpoints":             {acme, nil, nil, 2, 0, map[string]int{"a": 1, "b": 1}},
		"others first the next time":       {acme, nil, nil, 2, 1, map[string]int{"b": 1, "c": 1}},
		"an instance alone gets its half":  {append(acme, other), nil, nil, 6, 0, map[string]int{"a": 1, "b": 1, "c": 1, "x": 3}},
		"and more of what nobody wants":    {append(acme, other), map[string]int{"x": 9}, nil, 20, 0, map[string]int{"a": 4, "b": 4, "c": 3, "x": 9}},
		"a full instance gets nothing":     {append(acme, other), nil, map[string]int{"acme": 0}, 6, 0, map[string]int{"x": 4}},
		"no more than an instance's room":  {append(acme, other), nil, map[string]int{"acme": 2}, 20, 0, map[string]int{"a": 1, "b": 1, "x": 4}},
		"an instance has many full places": {append(acme, other), map[string]int{"a": 0, "b": 0, "c": 0}, nil, 3, 1, map[string]int{"x": 3}},
	} {
		t.Run(name, func(t *testing.T) {
			claims := share(test.ready, func(e store.Endpoint) int {
				if room, ok := test.rooms[e.ID]; ok {
					return room
				}
				return 4
			}, func(instance string) int {
				if room, ok := test.instance[instance]; ok {
					return room
				}
				return 100
			}, test.free, test.turn)
			got := map[string]int{}
			for _, claim := range claims {
				got[claim.ID] = claim.Limit
			}
			require.Equal(t, test.want, got)
		})
	}
}
