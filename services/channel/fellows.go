package channel

import (
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// What the processes that share the store tell each other; see package replica.
// A process does its own work itself. Others hear of what it has no room for, of
// what they keep in memory, and of answers for which their callers wait.
const (
	topicThreads      = "threads"      // due, without a slot; the subject is the instance
	topicLanes        = "lanes"        // due, without a place; the subject is the endpoint
	topicRedeliveries = "redeliveries" // only that a process has died
	topicResumed      = "resumed"      // an endpoint whose failures count no more
	topicEndpoint     = "endpoint"     // a channel or integration that was changed, by its id
	topicAnswered     = "answered"     // a message whose turn is stored, by its id
)

// clockDifference is by how much the clocks of two processes may differ for the
// leases of one that died to be found at once.
const clockDifference = time.Minute

// subject names an endpoint.
func subject(e store.Endpoint) string { return e.Instance + "/" + e.ID }

// endpointOf is what subject named; the zero value for "".
func endpointOf(subject string) store.Endpoint {
	instance, id, _ := strings.Cut(subject, "/")
	return store.Endpoint{Instance: instance, ID: id}
}
