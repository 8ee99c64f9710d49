package store

import "github.com/prosa-chat/prosa/services/internal/sqldb"

// bulk is a statement about rows of values that both engines run, each in the form that it likes best. Its parameter $1 is shared by
// all rows and comes before those of the rows.
type bulk struct{ sqlite, postgres *sqldb.Bulk }

func newBulk(head string, columns []string, tail string) bulk {
	// On SQLite $1 is the one parameter that has a name. As it stands before all others, it is the first.
	return bulk{sqlite: sqldb.NewSQLiteBulk(head, columns, tail), postgres: sqldb.NewBulk(head, columns, tail)}
}

// bulk gives the statement as this store runs it.
func (s *Store) bulk(b bulk) *sqldb.Bulk {
	if s.db.Dialect() == sqldb.Postgres {
		return b.postgres
	}
	return b.sqlite
}
