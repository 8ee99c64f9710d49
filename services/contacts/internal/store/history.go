package store

import (
	"context"
	"fmt"
	"slices"
)

// eventOverhead is about what an event takes in an answer besides its details.
const eventOverhead = 128

// Weights are about how many bytes the history and the events of attendances take in an answer, by their number. Attendances
// without any are not in it.
func (s *Store) Weights(ctx context.Context, instance string, attendances []int64) (map[int64]int64, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.weightsQuery(), instance, jsonList(attendances), eventOverhead)
	if err != nil {
		return nil, fmt.Errorf("weigh history: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	weights := make(map[int64]int64, len(attendances))
	for rows.Next() {
		var id, bytes int64
		if err := rows.Scan(&id, &bytes); err != nil {
			return nil, fmt.Errorf("weigh history: %w", err)
		}
		weights[id] += bytes
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("weigh history: %w", err)
	}
	return weights, nil
}

func (s *Store) weightsQuery() string {
	return `SELECT attendance_id, history_bytes FROM progress
		WHERE instance = $1 AND attendance_id` + s.dialect.numbers("$2") + ` AND history_bytes > 0
		UNION ALL
		SELECT attendance_id, sum(length(details) + $3) FROM event
		WHERE instance = $1 AND attendance_id` + s.dialect.numbers("$2") + ` GROUP BY attendance_id`
}

// History is what was said in attendances, by their number: the items of their turns, in order.
func (s *Store) History(ctx context.Context, instance string, attendances []int64) (map[int64][][]byte, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.dialect.history, instance, jsonList(attendances))
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	history := make(map[int64][][]byte, len(attendances))
	for rows.Next() {
		var id int64
		var items []byte
		if err := rows.Scan(&id, &items); err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		history[id] = append(history[id], items)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	for _, turns := range history {
		slices.Reverse(turns)
	}
	return history, nil
}
