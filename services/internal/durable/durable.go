// Package durable puts on disk what a write to a file alone does not.
package durable

import (
	"errors"
	"os"
)

// SyncFolder puts the names in a folder on disk: of a file that was made, renamed or removed there, only the content is by its own sync.
func SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
