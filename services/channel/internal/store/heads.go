package store

import (
	"context"
	"slices"
	"strconv"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ReadAhead is how many entries of one thread or lane are read at once.
const ReadAhead = 8

// heads reads the first pending entries of many threads or lanes at once.
type heads struct{ messages, deliveries *sqldb.Bulk }

// CROSS JOIN keeps the list of values the outer loop on SQLite.
func newHeads(d dialect) heads {
	columns := []string{"?", "?", "?", "CAST(? AS BIGINT)"}
	ahead := strconv.Itoa(ReadAhead)
	return heads{
		messages: d.bulk(`
SELECT instance, channel_id, client_identifier, `+messageColumns+` FROM (VALUES `, columns, `) AS v CROSS JOIN message
WHERE instance = v.column1 AND channel_id = v.column2 AND client_identifier = v.column3 AND seq > v.column4 AND seq <= v.column4 + `+ahead),
		deliveries: d.bulk(`
SELECT instance, endpoint_id, interaction_id, `+deliveryColumns+` FROM (VALUES `, columns, `) AS v CROSS JOIN delivery
WHERE instance = v.column1 AND endpoint_id = v.column2 AND interaction_id = v.column3 AND sequence > v.column4 AND sequence <= v.column4 + `+ahead+`
  AND delivery.state = 'PENDING'`),
	}
}

func (h *heads) ofThreads(ctx context.Context, r sqldb.Reader, threads []Thread) error {
	err := readHeads(ctx, r, h.messages, threads,
		func(t *Thread) ([3]string, int64) { return t.columns(), t.DoneSeq }, (*messageRow).targets,
		func(t *Thread, row *messageRow) { t.Pending = append(t.Pending, row.message(t.ThreadKey)) })
	for i := range threads {
		slices.SortFunc(threads[i].Pending, func(a, b Message) int { return int(a.Seq - b.Seq) })
	}
	return err
}

func (h *heads) ofLanes(ctx context.Context, r sqldb.Reader, lanes []Lane) error {
	err := readHeads(ctx, r, h.deliveries, lanes,
		func(l *Lane) ([3]string, int64) { return l.columns(), l.SettledSeq }, (*deliveryRow).targets,
		func(l *Lane, row *deliveryRow) { l.Pending = append(l.Pending, row.delivery(l.LaneKey)) })
	for i := range lanes {
		slices.SortFunc(lanes[i].Pending, func(a, b Delivery) int { return int(a.Sequence - b.Sequence) })
	}
	return err
}

// readHeads reads what is behind the done entries of queues, and adds each row to its queue, in any order.
func readHeads[Q, R any](
	ctx context.Context, r sqldb.Reader, statement *sqldb.Bulk, queues []Q, place func(*Q) (key [3]string, done int64),
	targets func(*R) []any, add func(*Q, *R),
) error {
	byKey := make(map[[3]string]*Q, len(queues))
	for i := range queues {
		key, _ := place(&queues[i])
		byKey[key] = &queues[i]
	}
	type keyed struct {
		key [3]string
		row R
	}
	return statement.Split(len(queues), func(query string, from, to int) error {
		args := make([]any, 0, 4*(to-from))
		for i := range queues[from:to] {
			key, done := place(&queues[from+i])
			args = append(args, key[0], key[1], key[2], done)
		}
		rows, err := r.QueryContext(ctx, query, args...)
		found, err := collect(rows, err, func(k *keyed) []any { return append([]any{&k.key[0], &k.key[1], &k.key[2]}, targets(&k.row)...) })
		if err != nil {
			return err
		}
		for i := range found {
			add(byKey[found[i].key], &found[i].row)
		}
		return nil
	})
}
