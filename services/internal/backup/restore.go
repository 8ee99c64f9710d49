package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prosa-chat/prosa/services/internal/durable"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// stagingName is the folder, in the data folder, of the files that are being put into place. While it exists the stores may be in
	// part old and in part new.
	stagingName = "restoring"
	// asidePrefix begins the names of the folders with what was there before.
	asidePrefix = "before-restore-"
)

// ErrInterrupted says that a restore was begun and did not end: the stores do not belong together.
var ErrInterrupted = errors.New("a restore was interrupted: run it again")

// ErrNotEmpty says that the data folder has stores already.
var ErrNotEmpty = errors.New("the data folder has stores already")

// Check is ErrInterrupted for a data folder in which a restore did not come to its end.
func Check(dataDir string) error {
	_, err := os.Stat(filepath.Join(dataDir, stagingName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(ErrInterrupted, err)
}

// Target is where a copy is put back.
type Target struct {
	// DataDir is the data folder; it is made where there is none.
	DataDir string
	// Stores are the options of all stores, by which their files are found and their schemas checked.
	Stores []sqldb.Options
	// Keys are the names of files with keys.
	Keys []string
	// Replace moves stores that are there already into a folder of their own. Without it they are ErrNotEmpty.
	Replace bool
}

// Restored says what came of a restore.
type Restored struct {
	// CreateTime is when the copy was made, Version by which program.
	CreateTime time.Time
	Version    string
	// Aside is the folder with what was there before; empty if nothing was.
	Aside string
}

// Restore puts a copy back. No process may use the data folder: sqldb.ErrLocked. Nothing there changes before the copy is known to be
// whole and sound; if the restore ends early after that, Check says so until it is run again. Other files of the folder stay.
func Restore(ctx context.Context, archive string, t Target, now time.Time) (done Restored, err error) {
	fail := func(err error) (Restored, error) { return Restored{}, fmt.Errorf("restore backup: %w", err) }
	if err := os.MkdirAll(t.DataDir, 0o700); err != nil {
		return fail(err)
	}
	var stores []string
	for _, options := range t.Stores {
		release, err := sqldb.LockFile(t.DataDir, options.Service)
		if err != nil {
			return fail(err)
		}
		defer func() { _ = release() }() // the process ends, and with it the lock
		stores = append(stores, options.Service)
	}
	interrupted := Check(t.DataDir) != nil
	if !t.Replace && !interrupted {
		if err := empty(t.DataDir, stores); err != nil {
			return fail(err)
		}
	}
	folder, err := os.MkdirTemp(t.DataDir, ".restore-")
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	m, err := extract(archive, folder, databases(stores), t.Keys)
	if err != nil {
		return fail(err)
	}
	for _, options := range t.Stores {
		if err := sqldb.VerifyFile(ctx, options, filepath.Join(folder, sqldb.Files(options.Service)[0])); err != nil {
			return fail(err)
		}
	}
	done = Restored{CreateTime: m.CreateTime, Version: m.Version}
	if done.Aside, err = t.swap(folder, m, now); err != nil {
		return fail(err)
	}
	return done, nil
}

// empty is ErrNotEmpty if one of the stores has a file.
func empty(dataDir string, stores []string) error {
	for _, name := range databases(stores) {
		info, err := os.Stat(filepath.Join(dataDir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.Size() > 0:
			return ErrNotEmpty
		}
	}
	return nil
}

// swap puts the files of folder into place, and what they replace into a folder of its own.
func (t *Target) swap(folder string, m manifest, now time.Time) (aside string, err error) {
	staging := filepath.Join(t.DataDir, stagingName)
	if err := os.RemoveAll(staging); err != nil { // of a restore that was interrupted
		return "", err
	}
	if err := errors.Join(os.Rename(folder, staging), durable.SyncFolder(t.DataDir)); err != nil {
		return "", err
	}
	aside = filepath.Join(t.DataDir, asidePrefix+now.UTC().Format("20060102T150405Z"))
	var old []string
	for _, options := range t.Stores {
		old = append(old, sqldb.Files(options.Service)...)
	}
	for _, e := range m.Entries {
		if slices.Contains(t.Keys, e.Name) {
			old = append(old, e.Name)
		}
	}
	moved := false
	for _, name := range old {
		if err := moveAside(t.DataDir, aside, name, &moved); err != nil {
			return "", err
		}
	}
	for _, e := range m.Entries {
		if err := os.Rename(filepath.Join(staging, e.Name), filepath.Join(t.DataDir, e.Name)); err != nil {
			return "", err
		}
	}
	if err := errors.Join(durable.SyncFolder(t.DataDir), os.RemoveAll(staging), durable.SyncFolder(t.DataDir)); err != nil {
		return "", err
	}
	if !moved {
		return "", nil
	}
	return aside, nil
}

func moveAside(dataDir, aside, name string, moved *bool) error {
	from := filepath.Join(dataDir, name)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	*moved = true
	return os.Rename(from, filepath.Join(aside, name))
}
