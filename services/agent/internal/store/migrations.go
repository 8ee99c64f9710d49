package store

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed migrations
var migrations embed.FS

// Migrations has the directories sqlite and postgres with the schema of this store.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		// The directory is embedded above.
		panic(fmt.Errorf("read migrations: %w", err))
	}
	return sub
}
