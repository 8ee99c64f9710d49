// Package migrations holds the schema of the channel service for both engines.
package migrations

import "embed"

// FS has the directories sqlite and postgres with goose files of equal numbers and names.
//
//go:embed sqlite/*.sql postgres/*.sql
var FS embed.FS
