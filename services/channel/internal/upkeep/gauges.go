package upkeep

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
)

const (
	// countTimeout bounds the counting; a scrape gets the last count then.
	countTimeout = time.Second
	// countEvery is how old a count may be, so that many scrapers cost no more than one.
	countEvery = 5 * time.Second
)

// BacklogReader is the part of the store that the gauges need.
type BacklogReader interface {
	Backlog(ctx context.Context) (store.Backlog, error)
}

// Gauges tell what waits, counted when somebody asks. It is a prometheus.Collector.
type Gauges struct {
	reader BacklogReader
	clock  clock.Clock

	messages, deliveries, messageAge, deliveryAge, parked *prometheus.Desc

	mu      sync.Mutex
	last    store.Backlog
	counted time.Time
}

// NewGauges returns the gauges.
func NewGauges(reader BacklogReader, c clock.Clock) *Gauges {
	describe := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &Gauges{
		reader:      reader,
		clock:       c,
		messages:    describe("prosa_channel_messages_pending", "Accepted messages that are not answered yet."),
		deliveries:  describe("prosa_channel_deliveries_pending", "Deliveries that are not settled yet."),
		messageAge:  describe("prosa_channel_oldest_message_seconds", "Age of the oldest pending message, 0 if there is none."),
		deliveryAge: describe("prosa_channel_oldest_delivery_seconds", "Age of the oldest pending delivery, 0 if there is none."),
		parked:      describe("prosa_channel_lanes_parked", "Conversations that wait for somebody to retry their dead delivery, or to resume their channel."),
	}
}

// Describe implements prometheus.Collector.
func (g *Gauges) Describe(to chan<- *prometheus.Desc) {
	to <- g.messages
	to <- g.deliveries
	to <- g.messageAge
	to <- g.deliveryAge
	to <- g.parked
}

// Collect implements prometheus.Collector.
func (g *Gauges) Collect(to chan<- prometheus.Metric) {
	b, now := g.backlog()
	gauge := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	gauge(g.messages, float64(b.Messages))
	gauge(g.deliveries, float64(b.Deliveries))
	gauge(g.messageAge, metric.Age(b.OldestMessage, now))
	gauge(g.deliveryAge, metric.Age(b.OldestDelivery, now))
	gauge(g.parked, float64(b.Parked))
}

func (g *Gauges) backlog() (store.Backlog, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if !g.counted.IsZero() && now.Sub(g.counted) < countEvery {
		return g.last, now
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout) //nolint:forbidigo // a scrape hands no context to its collectors
	defer cancel()
	if b, err := g.reader.Backlog(ctx); err == nil {
		g.last = b
	}
	g.counted = now
	return g.last, now
}
