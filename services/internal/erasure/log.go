package erasure

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/durable"
)

// Entry is a line of the log.
type Entry struct {
	Instance string `json:"instance"`
	// Person is the hash of the identifier, Contacts those of the person's ids.
	Person   string    `json:"person"`
	Contacts []string  `json:"contacts,omitempty"`
	Cut      time.Time `json:"cut"`
}

// Record is what stores keep of an entry.
func (e Entry) Record() Record { return Record{Instance: e.Instance, Person: e.Person, Cut: e.Cut} }

// Log is a file of erasures that lives apart from the stores and their backups: whatever copy of a store is put back, the erasures
// that it does not know of are in here. Lines are only ever added, each on disk before the erasure begins. It holds no personal data.
// Several processes may share the file. The nil log keeps nothing. It is safe for concurrent use.
type Log struct {
	path string
	mu   sync.Mutex
}

// maxLine bounds a line: a person has a contact id for each time that they came back after being erased.
const maxLine = 1 << 20

// OpenLog opens the file, and makes it, readable by this user only, if it is not there. Its folder must exist.
func OpenLog(path string) (*Log, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open erasure log: %w", err)
	}
	if err := errors.Join(file.Sync(), file.Close(), durable.SyncFolder(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("open erasure log: %w", err)
	}
	return &Log{path: path}, nil
}

// Append adds an entry. When it returns nil the entry is on disk.
func (l *Log) Append(e Entry) error {
	if l == nil {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode erasure: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Opened anew each time: whoever moved the file away, or put another there, is not deceived.
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write erasure log: %w", err)
	}
	// The newline before it ends a line of which a crash left only a part. One write is never mixed with another process's.
	_, err = file.Write(append(append([]byte{'\n'}, line...), '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write erasure log: %w", err)
	}
	return nil
}

// Entries reads all entries, oldest first, and how many lines are none: a crash left a part of them before they were answered.
func (l *Log) Entries() (entries []Entry, broken int, err error) {
	if l == nil {
		return nil, 0, nil
	}
	file, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read erasure log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var e Entry
		if json.Unmarshal(line, &e) != nil || e.Instance == "" || len(e.Person) != 64 || e.Cut.IsZero() {
			broken++
			continue
		}
		entries = append(entries, e)
	}
	if err := lines.Err(); err != nil {
		return nil, 0, fmt.Errorf("read erasure log: %w", err)
	}
	return entries, broken, nil
}
