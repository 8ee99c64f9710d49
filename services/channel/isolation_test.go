package channel_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// farther is by how much somebody else's trouble may move a 99th percentile. A
// percentile below noise fails no test, however far it moved: what it was is in
// the log, and the machine may have had other things to do.
const (
	farther = 1.5
	noise   = 250 * time.Millisecond
)

// neighbours is a service with a hundred channels, of which the first one, or
// another instance, makes trouble for the others.
type neighbours struct {
	*rig
	channels []*channelv1.Channel

	mu      sync.Mutex
	waiting map[string]chan struct{} // by text
	ended   chan struct{}            // of the test
}

func newNeighbours(t *testing.T) *neighbours {
	n := &neighbours{
		rig:     newRig(t, onSQLite(t), withConfig(channel.Config{Poll: 20 * time.Millisecond, EndpointRate: unlimited})),
		waiting: map[string]chan struct{}{}, ended: make(chan struct{}),
	}
	n.receiver.Config.Handler = n
	t.Cleanup(func() { close(n.ended) })
	for i := range 100 {
		n.channels = append(n.channels, n.create(func(c *channelv1.Channel) {
			c.WebhookUrl = fmt.Sprint(n.receiver.URL, "/", i)
			c.Timeout = durationpb.New(5 * time.Second)
		}))
	}
	n.start()
	return n
}

// ServeHTTP is the receiver of all. What comes to /dead is never answered, what
// comes to /slow late.
func (n *neighbours) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/dead":
		select {
		case <-r.Context().Done():
		case <-n.ended:
		}
		return
	case "/slow":
		select {
		case <-time.After(2 * time.Second):
		case <-n.ended:
		}
	}
	acknowledge(w)
	_, words, _ := strings.Cut(string(body), "echo: ")
	words, _, _ = strings.Cut(words, `"`)
	n.mu.Lock()
	defer n.mu.Unlock()
	if arrived, ok := n.waiting[words]; ok {
		delete(n.waiting, words)
		close(arrived)
	}
}

// tail is the 99th percentile of the time from a message to its answer's
// arrival, over the channels from the second on.
func (n *neighbours) tail(name string, messages int) time.Duration {
	n.t.Helper()
	const senders = 8
	took := make([]time.Duration, messages)
	var group sync.WaitGroup
	for sender := range senders {
		group.Go(func() {
			for i := sender; i < messages; i += senders {
				words, arrived := fmt.Sprint(name, "-", i), make(chan struct{})
				n.mu.Lock()
				n.waiting[words] = arrived
				n.mu.Unlock()
				start := time.Now()
				to := n.channels[1+i%(len(n.channels)-1)]
				if _, err := n.inbound.ReceiveMessage(n.t.Context(), received(to.GetId(), fmt.Sprint("p", i%500), words)); err != nil {
					n.t.Error(err)
					return
				}
				select {
				case <-arrived:
				case <-time.After(patience):
					n.t.Error("no answer")
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	group.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}

// flood sends messages of many people to a channel, and waits for no answer.
func (n *neighbours) flood(c *channelv1.Channel, words string, messages int) {
	n.t.Helper()
	var group sync.WaitGroup
	for sender := range 16 {
		group.Go(func() {
			for i := sender; i < messages; i += 16 {
				if _, err := n.inbound.ReceiveMessage(n.t.Context(), received(c.GetId(), fmt.Sprint("noise", i), words)); err != nil {
					n.t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// answered waits until every message has had its turn, so that deliveries alone
// make the trouble.
func (n *neighbours) answered() {
	n.eventually(func() bool { return n.backlog().Messages == 0 }, "every message has a turn")
}

// point gives a channel another webhook of the receiver.
func (n *neighbours) point(c *channelv1.Channel, path string) {
	n.t.Helper()
	target := n.receiver.URL + path
	_, err := n.store.UpdateChannel(n.t.Context(), "acme", c.GetId(), store.ChannelChange{WebhookURL: &target}, n.clock.Now())
	require.NoError(n.t, err)
}

// isolated measures the neighbours without and with trouble, in one run, and
// wants them to be hardly farther; a machine with other things to do gets three
// chances.
//
// The race detector makes everything slow but the waiting, and then times say
// nothing: under it trouble must only keep no message from arriving.
func isolated(t *testing.T, trouble func(n *neighbours)) {
	messages := 3000
	if testing.Short() {
		messages = 800
	}
	var seen []string
	for range 3 {
		n := newNeighbours(t)
		n.tail("warm", messages/4)
		quiet := n.tail("quiet", messages)
		trouble(n)
		troubled := n.tail("troubled", messages)
		n.stop()
		seen = append(seen, fmt.Sprintf("%s without, %s with trouble", quiet, troubled))
		t.Log(seen[len(seen)-1])
		if raceDetector || troubled <= max(noise, time.Duration(farther*float64(quiet))) {
			return
		}
	}
	require.Fail(t, "the neighbours feel it", "99th percentiles: %s", strings.Join(seen, "; "))
}

func TestADeadEndpointIsNotFeltByOthers(t *testing.T) {
	isolated(t, func(n *neighbours) {
		n.point(n.channels[0], "/dead")
		n.flood(n.channels[0], "barulho", 500)
		n.answered()
	})
}

func TestALongLaneIsNotFeltByOthers(t *testing.T) {
	isolated(t, func(n *neighbours) {
		n.agent.set(func(r *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			if r.GetText() != "barulho" {
				return []*messagev1.Message{text("echo: " + r.GetText())}, nil
			}
			answer := make([]*messagev1.Message, 100)
			for i := range answer {
				answer[i] = text("longo")
			}
			return answer, nil
		})
		long := 10_000
		if testing.Short() {
			long = 2000
		}
		for range long / 100 {
			n.send(n.channels[0], "long", "barulho")
		}
		n.answered()
	})
}

func TestASlowEndpointIsNotFeltByOthers(t *testing.T) {
	isolated(t, func(n *neighbours) {
		n.point(n.channels[0], "/slow")
		n.flood(n.channels[0], "barulho", 3000)
		n.answered()
	})
}

func TestANoisyInstanceIsNotFeltByOthers(t *testing.T) {
	isolated(t, func(n *neighbours) {
		// Its receivers take their time, and then its turns do, and there is more of both than places.
		n.agent.set(func(r *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			if r.GetText() == "demora" {
				select {
				case <-time.After(2 * time.Second):
				case <-n.ended:
				}
			}
			return []*messagev1.Message{text("echo: " + r.GetText())}, nil
		})
		for i := range 12 {
			made, err := n.rig.channels.CreateChannel(n.t.Context(), &channelv1.CreateChannelRequest{
				Instance: "other", Channel: &channelv1.Channel{AgentId: agentID, WebhookUrl: n.receiver.URL + "/slow"},
			})
			require.NoError(n.t, err)
			n.flood(made.GetChannel(), "barulho", 200)
			n.answered()
			if i == 11 {
				n.flood(made.GetChannel(), "demora", 1000)
			}
		}
	})
}
