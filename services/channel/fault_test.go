package channel_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// pump moves the clock on until the condition holds.
func (r *rig) pump(manual *clock.Manual, step time.Duration, condition func() bool, what string) {
	r.t.Helper()
	r.eventually(func() bool {
		manual.Advance(step)
		return condition()
	}, what)
}

func TestAMessageThatAlwaysFailsIsSetAsideAndTheThreadGoesOn(t *testing.T) {
	for name, fail := range map[string]func() error{
		"agent not found": func() error { return status.Error(codes.NotFound, "no such agent") },
		"agent panics":    func() error { return status.Error(codes.Internal, "something unexpected") },
		"panic here":      func() error { panic("words of a person") },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db *sqldb.DB) {
				manual := clock.NewManual(noon)
				r := newRig(t, db, withClock(manual))
				c := r.create()
				r.agent.set(func(turn *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
					if turn.GetText() == "veneno" {
						return nil, fail()
					}
					return []*messagev1.Message{text(turn.GetText())}, nil
				})
				for _, words := range []string{"antes", "veneno", "depois"} {
					r.send(c, "ana", words)
				}
				r.send(c, "bia", "outra")
				r.start()
				r.pump(manual, 20*time.Millisecond, func() bool { b := r.backlog(); return b.Messages+b.Deliveries == 0 }, "all done")
				require.Equal(t, 3, r.agent.count("veneno"))
				require.Equal(t, []string{"antes", "depois"}, r.agent.texts("ana"))
				require.Len(t, r.lane(c, "ana"), 2)
				r.stop()
				expected := `
# HELP prosa_channel_turns_total Turns asked of the agent, by what came of them.
# TYPE prosa_channel_turns_total counter
prosa_channel_turns_total{outcome="answered"} 3
prosa_channel_turns_total{outcome="interrupted"} 0
prosa_channel_turns_total{outcome="lost"} 0
prosa_channel_turns_total{outcome="retried"} 2
prosa_channel_turns_total{outcome="set_aside"} 1
`
				require.NoError(t, testutil.GatherAndCompare(r.metrics, stringReader(expected), "prosa_channel_turns_total"))
			})
		})
	}
}

func TestAnAgentThatIsAwayLosesNothing(t *testing.T) {
	for _, code := range []codes.Code{
		codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented,
	} {
		t.Run(code.String(), func(t *testing.T) {
			manual := clock.NewManual(noon)
			r := newRig(t, onSQLite(t), withClock(manual)).start()
			c := r.create()
			var away atomic.Bool
			away.Store(true)
			r.agent.set(func(turn *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
				if away.Load() {
					return nil, status.Error(code, "away")
				}
				return []*messagev1.Message{text(turn.GetText())}, nil
			})
			for i := range 5 {
				r.send(c, "ana", strconv.Itoa(i))
			}
			r.pump(manual, time.Second, func() bool { return r.agent.count("0") >= 10 }, "tried again and again")
			require.EqualValues(t, 5, r.backlog().Messages)
			away.Store(false)
			r.pump(manual, time.Second, func() bool { b := r.backlog(); return b.Messages+b.Deliveries == 0 }, "all answered")
			require.Equal(t, []string{"0", "1", "2", "3", "4"}, r.agent.texts("ana"))
		})
	}
}

func TestStoppingInTheMiddleLosesAndReordersNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{
			TurnPool: 8, DeliveryPool: 8, Poll: 10 * time.Millisecond, StopGrace: 5 * time.Millisecond,
		}))
		c := r.create()
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n%5 == 0 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			acknowledge(w)
		})
		// Failed attempts are repeated at once, so that the test does not take days.
		const people, each = 10, 8
		r.start()
		var senders sync.WaitGroup
		inbound := r.inbound // accepting goes on while the workers are away
		for p := range people {
			senders.Go(func() {
				for i := range each {
					_, err := inbound.ReceiveMessage(t.Context(), received(c.GetId(), fmt.Sprint("p", p), strconv.Itoa(i)))
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		for n := range 4 {
			r.receiver.await(t, 1+n*3)
			r.restart()
		}
		senders.Wait()
		r.receiver.answer(nil)
		r.eventually(func() bool {
			// What waits for a retry is due later than a test lasts.
			_, err := db.Exec1(t.Context(), `UPDATE lane SET next_time = 0 WHERE lease_until = 0 AND next_time > 0`)
			require.NoError(t, err)
			b := r.backlog()
			return b.Messages == 0 && b.Deliveries == 0
		}, "everything delivered")
		r.stop()

		seen := map[string][]string{} // ids in order of first arrival, by conversation
		known := map[string]bool{}
		for _, h := range r.receiver.await(t, people*each) {
			require.NoError(t, h.bad)
			webhookID := h.header.Get("webhook-id")
			if !known[webhookID] {
				known[webhookID] = true
				lane := h.body[:len(`{"contactId":"64a1b2c3d4e5f6a7b8c9d0e1"`)]
				seen[lane] = append(seen[lane], h.header.Get("Prosa-Sequence"))
			}
		}
		require.Len(t, known, people*each)
		for _, sequence := range seen {
			for i, number := range sequence {
				require.Equal(t, strconv.Itoa(i+1), number)
			}
		}
		for p := range people {
			require.Len(t, r.agent.texts(fmt.Sprint("p", p)), each, "every message is answered once")
		}
		require.Zero(t, r.agent.overlaps)
	})
}

func TestAnInterruptedAttemptIsNoFailedOne(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{Poll: 10 * time.Millisecond, StopGrace: 10 * time.Millisecond})).start()
		c := r.create()
		hang := make(chan struct{})
		var once sync.Once
		release := func() { once.Do(func() { close(hang) }) }
		t.Cleanup(release)
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n == 1 {
				<-hang
			}
			acknowledge(w)
		})
		r.send(c, "ana", "oi")
		r.receiver.await(t, 1)
		r.stop()
		d := r.lane(c, "ana")[0]
		require.Equal(t, store.Pending, d.State)
		require.Zero(t, d.AttemptCount)
		release()
		began := time.Now()
		r.build()
		r.start()
		got := r.receiver.await(t, 2)
		require.Less(t, time.Since(began), 10*time.Second, "the lease was given back, not left to run out")
		require.Equal(t, got[0].body, got[1].body)
		require.Equal(t, got[0].header.Get("webhook-id"), got[1].header.Get("webhook-id"))
	})
}

func TestAfterAKillWorkGoesOn(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual))
		c := r.create()
		r.send(c, "ana", "oi")
		// A process took the thread and was killed; one before it a lane.
		threads, err := r.store.ClaimThreads(t.Context(), []store.ThreadClaim{{Instance: "acme", Limit: 10}}, noon, noon.Add(15*time.Second))
		require.NoError(t, err)
		require.Len(t, threads, 1)
		r.start()
		if db.Dialect() == sqldb.Postgres {
			// Another process may hold it: only the end of the lease tells.
			r.advance(14 * time.Second)
			require.Zero(t, r.agent.count("oi"))
			r.advance(2 * time.Second)
		}
		r.receiver.await(t, 1)
		r.drained()
		require.Len(t, r.lane(c, "ana"), 1)
	})
}

func TestALongTurnKeepsItsLease(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual)).start()
		c := r.create()
		entered, proceed := make(chan struct{}), make(chan struct{})
		r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			close(entered)
			<-proceed
			return []*messagev1.Message{text("enfim")}, nil
		})
		r.send(c, "ana", "oi")
		<-entered
		for range 12 { // of a lease that lasts 15 seconds
			before := manual.Now()
			r.advance(5 * time.Second)
			r.eventually(func() bool {
				var until int64
				row := db.Reader().QueryRowContext(t.Context(), `SELECT lease_until FROM thread WHERE done_seq < last_seq`)
				require.NoError(t, row.Scan(&until))
				return until > sqldb.Micros(before.Add(15*time.Second))
			}, "renewed")
		}
		close(proceed)
		r.receiver.await(t, 1)
		r.drained()
		require.Equal(t, 1, r.agent.count("oi"))
	})
}

func TestADeletedChannelIsNotAnsweredAndItsDeliveriesAreCancelled(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual)).start()
		c, other := r.create(), r.create()
		r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
		for i := range 5 {
			r.send(c, fmt.Sprint("p", i), "oi")
		}
		r.send(other, "ana", "oi")
		r.receiver.await(t, 6)
		for i := range 5 {
			r.attempted(c, fmt.Sprint("p", i), 1)
		}
		r.attempted(other, "ana", 1)
		_, err := r.channels.DeleteChannel(t.Context(), &channelv1.DeleteChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		r.eventually(func() bool { return r.backlog().Deliveries == 1 }, "cancelled")
		for i := range 5 {
			require.Equal(t, store.Cancelled, r.lane(c, fmt.Sprint("p", i))[0].State)
		}
		require.Equal(t, store.Pending, r.lane(other, "ana")[0].State)
		_, err = r.inbound.ReceiveMessage(t.Context(), received(c.GetId(), "p1", "oi"))
		require.Equal(t, codes.NotFound, status.Code(err))
	})
}
