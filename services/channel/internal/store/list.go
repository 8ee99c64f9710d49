package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ErrDeliveryNotFound says that there is no such delivery.
var ErrDeliveryNotFound = errors.New("no such delivery")

// Bounds of one page of deliveries.
const (
	// listLook is how many deliveries a page looks at when no index has just
	// those that are asked for, and listChunk how many of them it reads at once.
	listLook, listChunk = 5000, 500
	// listBytes is how long the attempts of a page are together, in bytes; a
	// page has one delivery at least.
	listBytes = 1 << 20
)

// idSlack is how long before it was stored a delivery may have got its id.
const idSlack = 2 * time.Second

// DeliveryFilter says which deliveries of an instance are listed. Fields that
// are zero leave out nothing.
type DeliveryFilter struct {
	Instance                             string
	EndpointID, ContactID, InteractionID string
	Sequence                             int64
	States                               []DeliveryState
	// Start and End bound the time of creation, [Start, End).
	Start, End time.Time
}

// DeliveryPlace is a place in a list of deliveries: behind the one with this id.
// In the list of one conversation that is this number of that endpoint's.
type DeliveryPlace struct {
	ID         string
	EndpointID string
	Sequence   int64
}

// DeliveryPage is a part of a list of deliveries.
type DeliveryPage struct {
	// Deliveries have no Body.
	Deliveries []Listed
	// Next is where the list goes on, nil at its end.
	Next *DeliveryPlace
}

// Listed is a delivery as it is shown.
type Listed struct {
	Delivery
	// NextTime is when it is due; zero if it is settled, or being sent, or
	// another of its conversation comes first.
	NextTime time.Time
}

const (
	// listColumns looks for the next time of pending deliveries only.
	listColumns = `endpoint_id, interaction_id, sequence, id, contact_id, state, attempts, create_time, CASE WHEN state = 'PENDING' THEN COALESCE(
    (SELECT l.next_time FROM lane AS l
     WHERE l.instance = delivery.instance AND l.endpoint_id = delivery.endpoint_id AND l.interaction_id = delivery.interaction_id
       AND l.settled_seq = delivery.sequence - 1 AND l.lease_until = 0),
    (SELECT l.next_time FROM redelivery_lane AS l
     WHERE l.instance = delivery.instance AND l.endpoint_id = delivery.endpoint_id AND l.interaction_id = delivery.interaction_id
       AND l.lease_until = 0 AND delivery.sequence = (
        SELECT min(r.sequence) FROM redelivery AS r
        WHERE r.instance = delivery.instance AND r.endpoint_id = delivery.endpoint_id AND r.interaction_id = delivery.interaction_id))) END`

	getDeliverySQL = `
SELECT ` + listColumns + ` FROM delivery WHERE instance = $1 AND id = $2`
	listDeliveriesSQL = `
SELECT ` + listColumns + ` FROM delivery
WHERE instance = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT CAST($4 AS BIGINT) + 0`
	listDeadSQL = `
SELECT ` + listColumns + ` FROM delivery
WHERE instance = $1 AND state = 'DEAD' AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT CAST($4 AS BIGINT) + 0`
	listEndpointsDeadSQL = `
SELECT ` + listColumns + ` FROM delivery
WHERE instance = $1 AND endpoint_id = $5 AND state = 'DEAD' AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT CAST($4 AS BIGINT) + 0`
	// interactionEndpointsSQL jumps from endpoint to endpoint of an instance.
	interactionEndpointsSQL = `
WITH RECURSIVE known (endpoint_id) AS (
    SELECT min(endpoint_id) FROM lane WHERE instance = $1 AND endpoint_id >= $3
    UNION ALL
    SELECT (SELECT min(l.endpoint_id) FROM lane AS l WHERE l.instance = $1 AND l.endpoint_id > known.endpoint_id)
    FROM known WHERE known.endpoint_id IS NOT NULL)
SELECT endpoint_id FROM known WHERE EXISTS (
    SELECT 1 FROM lane AS l WHERE l.instance = $1 AND l.endpoint_id = known.endpoint_id AND l.interaction_id = $2)`
)

type listedRow struct {
	Listed
	attempts sql.NullString
	created  int64
	next     sql.NullInt64
}

func (r *listedRow) targets() []any {
	return []any{
		&r.EndpointID, &r.InteractionID, &r.Sequence, &r.ID, &r.ContactID, &r.State, &r.attempts, &r.created, &r.next,
	}
}

func (r *listedRow) listed(instance string) Listed {
	r.Instance, r.CreateTime, r.NextTime = instance, sqldb.Time(r.created), sqldb.NullTime(r.next)
	if r.attempts.Valid {
		r.Attempts = []byte(r.attempts.String)
	}
	return r.Listed
}

// Delivery reads one delivery, without its body. It fails with
// ErrDeliveryNotFound if the instance has none with that id.
func (s *Store) Delivery(ctx context.Context, instance, id string) (Listed, error) {
	var row listedRow
	err := s.db.Reader().QueryRowContext(ctx, getDeliverySQL, instance, id).Scan(row.targets()...)
	if sqldb.IsNoRows(err) {
		return Listed{}, ErrDeliveryNotFound
	}
	if err != nil {
		return Listed{}, fmt.Errorf("read delivery: %w", err)
	}
	return row.listed(instance), nil
}

// ListDeliveries reads a page of at most size deliveries behind a place, nil for
// the beginning: the newest first, those of one conversation by falling
// sequence, one endpoint after the other. A page may be short and have a next
// one: see listLook and listBytes.
func (s *Store) ListDeliveries(ctx context.Context, f DeliveryFilter, after *DeliveryPlace, size int) (DeliveryPage, error) {
	parts, err := s.parts(ctx, f, after)
	if err != nil {
		return DeliveryPage{}, fmt.Errorf("list deliveries: %w", err)
	}
	var (
		page         DeliveryPage
		place        DeliveryPlace
		bytes, looks int
	)
	for _, part := range parts {
		for ended := false; !ended; {
			if looks >= listLook {
				page.Next = &place
				return page, nil
			}
			limit := size - len(page.Deliveries) + 1 // one more tells whether there is another page
			if !part.exact {
				limit = min(max(limit, listChunk), listLook-looks)
			}
			rows, err := s.db.Reader().QueryContext(ctx, part.query, part.args(place, limit)...)
			found, err := collect(rows, err, (*listedRow).targets)
			if err != nil {
				return DeliveryPage{}, fmt.Errorf("list deliveries: %w", err)
			}
			ended = len(found) < limit
			looks += len(found)
			for i := range found {
				row := found[i].listed(f.Instance)
				if f.matches(&row) {
					full := len(page.Deliveries) == size || bytes+len(row.Attempts) > listBytes
					if full && len(page.Deliveries) > 0 {
						page.Next = &place
						return page, nil
					}
					bytes += len(row.Attempts)
					page.Deliveries = append(page.Deliveries, row)
				}
				place = part.place(&row)
			}
		}
	}
	return page, nil
}

// part is a query whose rows are in order, and may be among others.
type part struct {
	query string
	// exact says that nearly all rows are asked for.
	exact bool
	args  func(after DeliveryPlace, limit int) []any
	place func(row *Listed) DeliveryPlace
}

// parts are the queries that give the deliveries behind a place, one after the
// other.
func (s *Store) parts(ctx context.Context, f DeliveryFilter, after *DeliveryPlace) ([]part, error) {
	if f.InteractionID != "" {
		return s.laneParts(ctx, f, after)
	}
	from, below := idsWithin(f.Start, f.End)
	if after != nil {
		below = min(below, after.ID)
	}
	p := part{
		query: listDeliveriesSQL,
		exact: f.EndpointID == "" && f.ContactID == "" && f.Sequence == 0 && len(f.States) == 0,
		place: func(row *Listed) DeliveryPlace { return DeliveryPlace{ID: row.ID} },
	}
	dead := slices.Equal(f.States, []DeliveryState{Dead})
	switch {
	case dead && f.EndpointID != "":
		p.query, p.exact = listEndpointsDeadSQL, f.ContactID == "" && f.Sequence == 0
	case dead:
		p.query, p.exact = listDeadSQL, f.ContactID == "" && f.Sequence == 0
	}
	p.args = func(after DeliveryPlace, limit int) []any {
		args := []any{f.Instance, from, below, limit}
		if after.ID != "" {
			args[2] = after.ID
		}
		if dead && f.EndpointID != "" {
			args = append(args, f.EndpointID)
		}
		return args
	}
	return []part{p}, nil
}

// laneParts are those of one conversation: a query for each endpoint that it
// has.
func (s *Store) laneParts(ctx context.Context, f DeliveryFilter, after *DeliveryPlace) ([]part, error) {
	var begin DeliveryPlace
	if after != nil {
		begin = *after
	}
	endpoints := []string{f.EndpointID}
	if f.EndpointID == "" {
		rows, err := s.db.Reader().QueryContext(ctx, interactionEndpointsSQL, f.Instance, f.InteractionID, begin.EndpointID)
		endpoints, err = collect(rows, err, func(endpoint *string) []any { return []any{endpoint} })
		if err != nil {
			return nil, err
		}
		slices.Sort(endpoints)
	}
	from, below := int64(1), int64(parkedUntil)
	if f.Sequence > 0 {
		from, below = f.Sequence, f.Sequence+1
	}
	parts := make([]part, len(endpoints))
	for i, endpoint := range endpoints {
		below, last := below, ""
		if endpoint == begin.EndpointID {
			below, last = min(below, begin.Sequence), begin.ID
		}
		parts[i] = part{
			query: s.lane.list,
			exact: f.ContactID == "" && len(f.States) == 0 && f.Start.IsZero() && f.End.IsZero(),
			args: func(after DeliveryPlace, limit int) []any {
				if after.EndpointID == endpoint {
					below, last = after.Sequence, after.ID
				}
				return append([]any{f.Instance, endpoint, f.InteractionID, from, below, limit}, s.dialect.listFrom(last)...)
			},
			place: func(row *Listed) DeliveryPlace {
				return DeliveryPlace{ID: row.ID, EndpointID: row.EndpointID, Sequence: row.Sequence}
			},
		}
	}
	return parts, nil
}

func (f *DeliveryFilter) matches(d *Listed) bool {
	return (f.EndpointID == "" || f.EndpointID == d.EndpointID) &&
		(f.ContactID == "" || f.ContactID == d.ContactID) &&
		(f.Sequence == 0 || f.Sequence == d.Sequence) &&
		(len(f.States) == 0 || slices.Contains(f.States, d.State)) &&
		within(d.CreateTime, f.Start, f.End)
}

func within(t, start, end time.Time) bool {
	return (start.IsZero() || !t.Before(start)) && (end.IsZero() || t.Before(end))
}

// idsWithin bounds the ids of what was made in [start, end): from ≤ id < below.
// A delivery gets its id a moment before it is stored.
func idsWithin(start, end time.Time) (from, below string) {
	below = "g" // behind all digits
	if !start.IsZero() {
		from = id.OrderedFrom(start.Add(-idSlack))
	}
	if !end.IsZero() {
		below = id.OrderedFrom(end)
	}
	return from, below
}
