// Package population makes an instance's attendances as they are after years: people who come again and again and people who came once,
// some agents that answer most, what was said and what happened, and what came over from an older system. It writes right into the
// tables of the contacts service, because millions through the front door would take hours. The same spec makes the same rows.
package population

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Spec says what is made.
type Spec struct {
	// Instance must have no attendances yet.
	Instance string
	// Seed decides everything that is left to chance.
	Seed uint64
	// Attendances is how many there are.
	Attendances int
	// Items is about how many history items an attendance has.
	Items int
}

// The times of what is made: live from Opened to Closed; before Opened in the older system.
var (
	Opened = time.Date(2023, 1, 2, 3, 0, 0, 0, time.UTC)
	Closed = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	Before = time.Date(2019, 1, 7, 3, 0, 0, 0, time.UTC)
)

// Filled says how much was made.
type Filled struct{ Attendances, Contacts, Attributes, Turns, Items, Events int64 }

// String is a line about it.
func (f Filled) String() string {
	return fmt.Sprintf("%d attendances of %d people with %d attributes, %d history items in %d turns, %d events",
		f.Attendances, f.Contacts, f.Attributes, f.Items, f.Turns, f.Events)
}

// table is one of the tables that are filled.
type table struct {
	name    string
	columns []string
}

var (
	counters    = &table{"counter", []string{"instance", "name", "value", "live"}}
	contacts    = &table{"contact", []string{"instance", "id", "identifier", "create_time"}}
	attributes  = &table{"contact_attribute", []string{"instance", "contact_id", "name", "value", "lookup"}}
	attendances = &table{"attendance", []string{
		"instance", "id", "interaction_id", "contact_id", "identifier", "assistant_id", "source", "external_id", "request_id", "create_time",
	}}
	eventTypes = &table{"event_type", []string{"instance", "id", "name"}}
	events     = &table{"event", []string{
		"instance", "id", "attendance_id", "assistant_id", "type_id", "external_id", "extra1", "extra2", "details", "time",
	}}
)

// sink is where rows go.
type sink interface {
	add(ctx context.Context, t *table, values ...any) error
	// turn adds a turn of an attendance; those of one attendance come in order.
	turn(ctx context.Context, instance, id string, attendance int64, items []byte) error
	// progress closes an attendance, after its turns.
	progress(ctx context.Context, instance string, attendance, interactions, bytes int64, finish any) error
	// finish writes what is left, and makes it last.
	finish(ctx context.Context) error
	// close gives everything back.
	close() error
}

// FillSQLite fills the tables in the file of a store that nobody has open.
func FillSQLite(ctx context.Context, file string, specs ...Spec) (Filled, error) {
	to, err := openSQLite(ctx, file)
	if err != nil {
		return Filled{}, err
	}
	return fill(ctx, to, specs)
}

// FillPostgres fills the tables in a migrated database.
func FillPostgres(ctx context.Context, url string, specs ...Spec) (Filled, error) {
	to, err := openPostgres(ctx, url)
	if err != nil {
		return Filled{}, err
	}
	return fill(ctx, to, specs)
}

func fill(ctx context.Context, to sink, specs []Spec) (total Filled, err error) {
	defer func() { err = errors.Join(err, to.close()) }()
	for _, spec := range specs {
		m := &maker{
			Spec: spec, to: to, random: rand.New(rand.NewPCG(spec.Seed, 0x70726f7361)),
			people: newPeople(spec), total: &total,
		}
		if err := m.run(ctx); err != nil {
			return total, fmt.Errorf("fill %s: %w", spec.Instance, err)
		}
	}
	return total, to.finish(ctx)
}

// together is how many attendances are open at the same time: their turns come in turn.
const together = 200

// maker makes one instance.
type maker struct {
	Spec
	to     sink
	random *rand.Rand
	people *people
	total  *Filled
	events int64
	turns  uint32
}

func (m *maker) run(ctx context.Context) error {
	for n, name := range eventNames {
		if err := m.to.add(ctx, eventTypes, m.Instance, n+1, name); err != nil {
			return err
		}
	}
	open := make([]*attendance, 0, together)
	for n := 1; n <= m.Attendances; n++ {
		a := m.attendance(int64(n))
		if err := m.open(ctx, a); err != nil {
			return err
		}
		if open = append(open, a); len(open) == together || n == m.Attendances {
			if err := m.talk(ctx, open); err != nil {
				return err
			}
			open = open[:0]
		}
	}
	for name, last := range map[string]int64{
		"attendance": int64(m.Attendances), "event": m.events, "event_type": int64(len(eventNames)),
	} {
		if err := m.to.add(ctx, counters, m.Instance, name, last, last); err != nil {
			return err
		}
	}
	return nil
}

// attendance is one that is being made.
type attendance struct {
	id        int64
	person    int
	assistant int64
	source    string
	at        time.Time
	external  any // nil or the number in the older system
	turns     int
	finished  bool

	interactions, bytes int64
}

// share is a part of all attendances, and what is true of it. Shares add up to one.
type share[T any] struct {
	part float64
	of   T
}

// pick takes one by the size of its share.
func pick[T any](random *rand.Rand, shares []share[T]) T {
	at := random.Float64()
	for _, s := range shares {
		if at -= s.part; at < 0 {
			return s.of
		}
	}
	return shares[0].of
}

var (
	assistants = []share[int64]{{0.55, 1}, {0.22, 2}, {0.1, 3}, {0.06, 4}, {0.04, 5}, {0.02, 6}, {0.0095, 7}, {0.0005, 8}}
	sources    = []share[string]{{0.6, "api_channel"}, {0.24, "api"}, {0.1595, "agent"}, {0.0005, "quiosque"}}
	older      = []share[string]{{0.7, "whatsapp"}, {0.3, "widget"}}
)

// attendance says what the next one is. The first quarter came over from the older system before the beginning, the oldest first, and
// another part when the instance was in use already, so that its numbers are between younger ones.
func (m *maker) attendance(id int64) *attendance {
	part := float64(id-1) / float64(m.Attendances)
	a := &attendance{id: id, person: m.people.next(m.random), assistant: pick(m.random, assistants), finished: id < int64(m.Attendances)-together}
	if id%20 == 0 && id/20 <= Known {
		a.person = int(id/20) - 1
	}
	switch {
	case part < 0.25:
		a.at = between(Before, Opened, 0.3+0.7*part/0.25)
	case part >= 0.6 && part < 0.65:
		a.at = between(Before, Opened, 0.3*(part-0.6)/0.05)
	case part < 0.6:
		a.at = between(Opened, Closed, (part-0.25)/0.7)
	default:
		a.at = between(Opened, Closed, (part-0.30)/0.7)
	}
	if a.at.Before(Opened) {
		a.source, a.external, a.turns = pick(m.random, older), fmt.Sprintf("velho-%08d", id), 1
		return a
	}
	a.source = pick(m.random, sources)
	// Half of a spread that has few turns mostly, and now and then very many.
	a.turns = min(400, int(math.Ceil(-math.Log(1-m.random.Float64())*float64(m.Items)/2)))
	return a
}

func between(from, until time.Time, part float64) time.Time {
	return from.Add(time.Duration(part * float64(until.Sub(from)))).Truncate(time.Microsecond)
}

// open stores an attendance and, at its first, the person.
func (m *maker) open(ctx context.Context, a *attendance) error {
	if m.people.first(a.person) {
		if err := m.meet(ctx, a); err != nil {
			return err
		}
	}
	var request any
	if a.external == nil {
		request = identifier(a.at, 1, a.id)
	}
	m.total.Attendances++
	return m.to.add(ctx, attendances, m.Instance, a.id, identifier(a.at, 2, a.id), m.people.id(a.person), m.people.identifier(a.person),
		a.assistant, a.source, a.external, request, a.at.UnixMicro())
}

// identifier is an identifier of a kind, as the product makes them: the second, and what is else unique.
func identifier(at time.Time, kind byte, n int64) string {
	return fmt.Sprintf("%08x%02x%014x", uint32(at.Unix()), kind, uint64(n)*0x9e3779b97f4a7c15>>8)
}
