package channel_test

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// stormy is a receiver that fails one request in five and takes its time, and
// checks the order in which it gets things.
type stormy struct {
	mu       sync.Mutex
	attempts map[string]int    // by webhook-id
	bodies   map[string]string // by webhook-id
	places   map[string]string // webhook-id by conversation and sequence
	acked    map[string]int    // the last sequence that was acknowledged, by conversation
	done     int
	wrong    []string
}

func (s *stormy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	lane, id := contactIn(hook{body: string(body)}), r.Header.Get("webhook-id")
	sequence, _ := strconv.Atoi(r.Header.Get("prosa-sequence"))
	s.mu.Lock()
	s.attempts[id]++
	// Chance, but the same in every run.
	dice := fnv.New64a()
	_, _ = fmt.Fprint(dice, lane, sequence, s.attempts[id]) // a hash takes everything
	roll := dice.Sum64()
	place := lane + "/" + strconv.Itoa(sequence)
	switch known, seen := s.places[place]; {
	case seen && known != id:
		s.wrong = append(s.wrong, place+" came with another id")
	case seen && s.bodies[id] != string(body):
		s.wrong = append(s.wrong, place+" came with another body")
	case s.acked[lane] < sequence-1:
		s.wrong = append(s.wrong, fmt.Sprintf("%s came when only %d was acknowledged", place, s.acked[lane]))
	}
	s.places[place], s.bodies[id] = id, string(body)
	s.mu.Unlock()
	<-time.After(time.Duration(roll>>8%3000) * time.Microsecond)
	if roll%5 == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	if s.acked[lane] == sequence-1 {
		s.acked[lane] = sequence
		s.done++
	}
	s.mu.Unlock()
	acknowledge(w)
}

func (s *stormy) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

func TestThroughAReceiverThatFailsAndDelaysNothingIsLostOrOutOfOrder(t *testing.T) {
	messages, people := 10_000, 500
	if testing.Short() {
		messages, people = 1000, 50
	}
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{
			Poll: 10 * time.Millisecond, EndpointRate: unlimited, Schedule: waits(t, "5ms,5ms,10ms,10ms,20ms,20ms,40ms,40ms,80ms,80ms,100ms,100ms,100ms,100ms"),
		}))
		s := &stormy{attempts: map[string]int{}, bodies: map[string]string{}, places: map[string]string{}, acked: map[string]int{}}
		r.receiver.Config.Handler = s
		r.start()
		c := r.create()
		var senders sync.WaitGroup
		for sender := range 16 {
			senders.Go(func() {
				for n := sender; n < messages; n += 16 {
					if _, err := r.inbound.ReceiveMessage(t.Context(), received(c.GetId(), fmt.Sprint("p", n%people), strconv.Itoa(n))); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		senders.Wait()
		require.Eventually(t, func() bool { b := r.backlog(); return b.Messages+b.Deliveries == 0 }, 5*time.Minute, 20*time.Millisecond)
		require.Empty(t, s.wrong)
		require.Equal(t, messages, s.arrived())
		require.Len(t, s.places, messages, "every message once")
		require.Len(t, s.bodies, messages)
		tries := 0
		for _, n := range s.attempts {
			tries += n
		}
		require.InDelta(t, 1.25, float64(tries)/float64(messages), 0.1, "a fifth of the attempts failed")
		for lane, last := range s.acked {
			require.Equal(t, messages/people, last, lane)
		}
	})
}
