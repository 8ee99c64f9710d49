package erasure

import (
	"context"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Guard refuses on SQLite what came before its person was erased, at no cost to instances in which nobody was. (On PostgreSQL the
// INSERT itself looks for the record.) It is of the writer: only functions of Write may use it. The nil guard refuses nobody.
type Guard struct {
	db     *sqldb.DB
	undone uint64
	// instances are those that have erasures; nil when that is not known.
	instances map[string]bool
}

// GuardOf is the one guard of an open store.
func GuardOf(db *sqldb.DB) *Guard {
	type key struct{}
	return db.Keep(key{}, func() any { return &Guard{db: db} }).(*Guard)
}

func (g *Guard) forget() { g.instances = nil }

// Refuses is the function of the same name for what the same transaction is about to store.
func (g *Guard) Refuses(ctx context.Context, tx sqldb.Tx, s Subject) (bool, error) {
	if g == nil || s.Hasher == nil {
		return false, nil
	}
	if undone := g.db.Undone(); undone != g.undone {
		g.undone = undone
		g.forget() // what was undone may have been an erasure
	}
	if g.instances == nil {
		if err := g.load(ctx, tx); err != nil {
			return false, err
		}
	}
	if !g.instances[s.Instance] {
		return false, nil
	}
	return Refuses(ctx, tx, s)
}

func (g *Guard) load(ctx context.Context, tx sqldb.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT instance FROM erasure`)
	if err != nil {
		return fmt.Errorf("read instances with erasures: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	instances := make(map[string]bool)
	for rows.Next() {
		var instance string
		if err := rows.Scan(&instance); err != nil {
			return fmt.Errorf("read instances with erasures: %w", err)
		}
		instances[instance] = true
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read instances with erasures: %w", err)
	}
	g.instances = instances
	return nil
}
