package deliveries

import (
	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// share divides free places among the endpoints that are ready: by instance
// first, then by endpoint, each time everyone the same and what one has no room
// for to the others. Who begins, where places are fewer than those who want
// one, changes from call to call by turn.
func share(ready []store.Endpoint, room func(store.Endpoint) int, instanceRoom func(instance string) int, free, turn int) []store.Claim {
	type group struct {
		ready []store.Endpoint
		rooms []int
	}
	var (
		instances []string
		groups    = make(map[string]*group)
	)
	for _, endpoint := range ready {
		has := room(endpoint)
		if has == 0 {
			continue
		}
		of, ok := groups[endpoint.Instance]
		if !ok {
			of = &group{}
			groups[endpoint.Instance] = of
			instances = append(instances, endpoint.Instance)
		}
		of.ready, of.rooms = append(of.ready, endpoint), append(of.rooms, has)
	}
	wants := make([]int, len(instances))
	for i, instance := range instances {
		for _, has := range groups[instance].rooms {
			wants[i] += has
		}
		wants[i] = min(wants[i], instanceRoom(instance))
	}
	var claims []store.Claim
	for i, part := range pool.Split(free, wants, turn) {
		of := groups[instances[i]]
		for j, n := range pool.Split(part, of.rooms, turn) {
			if n > 0 {
				claims = append(claims, store.Claim{Endpoint: of.ready[j], Limit: n})
			}
		}
	}
	return claims
}
