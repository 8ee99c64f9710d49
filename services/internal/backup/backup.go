// Package backup copies the embedded stores of a data folder to one file while they are in use, and puts such a copy back.
//
// The file is a tar archive: one SQLite database a store, the keys that the data folder holds, and at its end a manifest that says what
// must be in it.
package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prosa-chat/prosa/services/internal/durable"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	manifestName = "manifest.json"
	// format is the number of this form of archive. A program refuses what has a greater one.
	format = 1
)

// manifest says what an archive holds.
type manifest struct {
	Format     int       `json:"format"`
	Version    string    `json:"prosaVersion"`
	CreateTime time.Time `json:"createTime"`
	Entries    []entry   `json:"entries"`
}

// entry is a file of an archive.
type entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Source is what is copied.
type Source struct {
	// DataDir is the data folder.
	DataDir string
	// Stores are the names of the stores, in the order in which they are copied. A service that tells another what it has done must
	// come before that: the copy then holds work that is told twice, which is harmless, and none that was told and is forgotten.
	Stores []string
	// Keys are the names of files with keys, which are copied where they exist.
	Keys []string
	// Version is this program's.
	Version string
}

// Create writes a copy to a new file, readable by this user only, which is complete and on disk when it returns; otherwise there is no
// such file. Nobody who uses the stores has to wait. It takes the room of the stores twice while it is made.
func Create(ctx context.Context, source Source, now time.Time, target string) (err error) {
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("make backup: %s exists already", target), err)
	}
	folder, err := os.MkdirTemp(filepath.Dir(target), ".prosa-backup-")
	if err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	archive := filepath.Join(folder, "archive.tar")
	if err := create(ctx, source, now, folder, archive); err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	// A link, not a rename: what somebody put there meanwhile stays.
	if err := os.Link(archive, target); err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	return durable.SyncFolder(filepath.Dir(target))
}

func create(ctx context.Context, source Source, now time.Time, folder, archive string) (err error) {
	out, err := os.OpenFile(archive, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	m := manifest{Format: format, Version: source.Version, CreateTime: now.UTC().Truncate(time.Second)}
	for _, store := range source.Stores {
		name := sqldb.Files(store)[0]
		file := filepath.Join(folder, name)
		if err := sqldb.Snapshot(ctx, source.DataDir, store, file); err != nil {
			return err
		}
		added, err := add(w, file, name, now)
		if err = errors.Join(err, os.Remove(file)); err != nil {
			return err
		}
		m.Entries = append(m.Entries, added)
	}
	for _, name := range source.Keys {
		added, err := add(w, filepath.Join(source.DataDir, name), name, now)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was given as a setting
		}
		if err != nil {
			return err
		}
		m.Entries = append(m.Entries, added)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := w.WriteHeader(header(manifestName, int64(len(text)), now)); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return errors.Join(w.Close(), out.Sync())
}

func header(name string, size int64, now time.Time) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: now, Format: tar.FormatPAX}
}

// add puts a file into an archive.
func add(w *tar.Writer, path, name string, now time.Time) (added entry, err error) {
	in, err := os.Open(path)
	if err != nil {
		return entry{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return entry{}, err
	}
	if err := w.WriteHeader(header(name, info.Size(), now)); err != nil {
		return entry{}, err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), in); err != nil {
		return entry{}, err
	}
	return entry{Name: name, Size: info.Size(), SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// extract unpacks an archive into an empty folder, and checks that it is whole: that every file is as it was, and that those which must
// be there are, and no others.
func extract(archive, folder string, must, may []string) (m manifest, err error) {
	in, err := os.Open(archive)
	if err != nil {
		return manifest{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	var found []entry
	r := tar.NewReader(in)
	for {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return manifest{}, errors.New("the backup ends too early")
		}
		if err != nil {
			return manifest{}, fmt.Errorf("read backup: %w", err)
		}
		if head.Name == manifestName {
			break
		}
		if head.Typeflag != tar.TypeReg || !slices.Contains(must, head.Name) && !slices.Contains(may, head.Name) {
			return manifest{}, fmt.Errorf("the backup holds %q, which is no part of one", head.Name)
		}
		unpacked, err := unpack(r, filepath.Join(folder, head.Name), head.Name)
		if err != nil {
			return manifest{}, err
		}
		found = append(found, unpacked)
	}
	if err := json.NewDecoder(io.LimitReader(r, maxManifest)).Decode(&m); err != nil {
		return manifest{}, fmt.Errorf("read manifest of backup: %w", err)
	}
	if m.Format > format {
		return manifest{}, fmt.Errorf("the backup was made by a newer program (%s)", m.Version)
	}
	if !slices.Equal(m.Entries, found) {
		return manifest{}, errors.New("the backup is damaged: its files are not those of its manifest")
	}
	for _, name := range must {
		if !slices.ContainsFunc(found, func(e entry) bool { return e.Name == name }) {
			return manifest{}, fmt.Errorf("the backup lacks %s", name)
		}
	}
	return m, durable.SyncFolder(folder)
}

// maxManifest is more than a manifest takes, in bytes.
const maxManifest = 1 << 20

func unpack(r io.Reader, path, name string) (unpacked entry, err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return entry{}, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(out, sum), r)
	if err != nil {
		return entry{}, fmt.Errorf("unpack %s: %w", name, err)
	}
	return entry{Name: name, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, out.Sync()
}

// databases are the names of the database files of stores.
func databases(stores []string) []string {
	var names []string
	for _, store := range stores {
		names = append(names, sqldb.Files(store)[0])
	}
	return names
}
