// Package storetest is the contract of the channel service's store: what every
// engine must do, run on each.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// Case is one promise of the store.
type Case struct {
	Name string
	Run  func(t *testing.T, s *store.Store)
}

// Cases are all promises. Each is run on a new store.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{channelCases, botAPICases, botMessageCases, messageCases, threadCases, laneCases, parkCases, dueCases, cancelCases, traceCases, redeliveryCases, listCases, chainCases, eraseCases} {
		all = append(all, group...)
	}
	return all
}

// start is when the tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const lease = 15 * time.Second

// at is a moment after the start, in milliseconds.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func channel(instance string, n int) *store.Channel {
	return &store.Channel{
		Instance: instance, ID: fmt.Sprintf("%024x", n), DisplayName: "Canal", AgentID: "a", WebhookURL: "https://example.com/hook",
		Acknowledgement: store.StatusOK, Timeout: 15 * time.Second, State: store.Active, Secret: []byte("sealed"),
		CreateTime: at(n), UpdateTime: at(n),
	}
}

func create(t *testing.T, s *store.Store, instance string, n int) *store.Channel {
	t.Helper()
	c := channel(instance, n)
	_, err := s.CreateChannel(t.Context(), c, nil)
	require.NoError(t, err)
	return c
}

var messages int

func message(c *store.Channel, person, text string, now time.Time) *store.Message {
	messages++
	return &store.Message{
		ThreadKey: store.ThreadKey{Instance: c.Instance, ChannelID: c.ID, ClientIdentifier: person},
		ID:        fmt.Sprintf("%024x", messages), Text: text, CreateTime: now,
	}
}

func accept(t *testing.T, s *store.Store, c *store.Channel, person, text string, now time.Time) *store.Message {
	t.Helper()
	m := message(c, person, text, now)
	accepted, err := s.Accept(t.Context(), m, nil, time.Time{})
	require.NoError(t, err)
	require.Equal(t, m.ID, accepted.MessageID)
	m.Seq = accepted.Held.Seq
	return m
}

func claimThreads(t *testing.T, s *store.Store, now time.Time, limit int) []store.Thread {
	t.Helper()
	threads, err := s.ClaimThreads(t.Context(), []store.ThreadClaim{{Instance: "acme", Limit: limit}}, now, now.Add(lease))
	require.NoError(t, err)
	return threads
}

func claimLanes(t *testing.T, s *store.Store, c *store.Channel, now time.Time, limit int) []store.Lane {
	t.Helper()
	lanes, err := s.ClaimLanes(t.Context(), []store.Claim{{Endpoint: endpoint(c), Limit: limit}}, now, now.Add(lease))
	require.NoError(t, err)
	return lanes
}

func endpoint(c *store.Channel) store.Endpoint { return store.Endpoint{Instance: c.Instance, ID: c.ID} }

// answer finishes the head of a thread with n deliveries of one interaction.
func answer(t *testing.T, s *store.Store, thread store.Thread, interaction string, n int, now time.Time) store.Finished {
	t.Helper()
	finished, err := s.FinishTurn(t.Context(), turn(thread, interaction, n), now)
	require.NoError(t, err)
	return finished
}

func turn(thread store.Thread, interaction string, n int) *store.Turn {
	result := &store.Turn{ThreadKey: thread.ThreadKey, Epoch: thread.Epoch, Seq: thread.DoneSeq + 1, ContactID: "c", InteractionID: interaction}
	for i := range n {
		messages++
		result.Answer = append(result.Answer, store.Outgoing{ID: fmt.Sprintf("%024x", messages), Body: []byte(fmt.Sprintf("body %d", i))})
	}
	return result
}

// lane makes a lane with n pending deliveries.
func lane(t *testing.T, s *store.Store, c *store.Channel, interaction string, n int, now time.Time) store.LaneKey {
	t.Helper()
	m := message(c, "person of "+interaction, "oi", now)
	accepted, err := s.Accept(t.Context(), m, nil, now.Add(lease))
	require.NoError(t, err)
	require.True(t, accepted.Held.OK)
	answer(t, s, store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, DoneSeq: accepted.Held.Seq - 1}, interaction, n, now)
	return store.LaneKey{Instance: c.Instance, EndpointID: c.ID, InteractionID: interaction}
}

func deliveries(t *testing.T, s *store.Store, key store.LaneKey) []store.Delivery {
	t.Helper()
	all, err := s.Deliveries(t.Context(), key, 0, 1000)
	require.NoError(t, err)
	return all
}

func states(all []store.Delivery) []store.DeliveryState {
	result := make([]store.DeliveryState, len(all))
	for i, d := range all {
		result[i] = d.State
	}
	return result
}

func backlog(t *testing.T, s *store.Store) store.Backlog {
	t.Helper()
	b, err := s.Backlog(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	return b
}
