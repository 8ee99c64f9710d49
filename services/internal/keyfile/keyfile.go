// Package keyfile keeps keys that a process makes at its first start in files
// of its data folder, so that later starts, and other processes on the same
// folder, have the same ones.
package keyfile

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/prosa-chat/prosa/services/internal/durable"
)

// keyBytes is how many random bytes a made key has: 256 bits.
const keyBytes = 32

// LoadOrCreate gives the key in the file of that name in folder. When there is
// none it makes one: prefix and 43 characters of base64url, on disk with mode
// 0600 before it is given; made says so. Of several processes that start at
// once one makes the key, and all get the same. random nil means the
// cryptographic source of the system.
func LoadOrCreate(folder, name, prefix string, random io.Reader) (key string, made bool, err error) {
	path := filepath.Join(folder, name)
	key, err = load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if random == nil {
		random = rand.Reader
	}
	raw := make([]byte, keyBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", false, fmt.Errorf("make %s: %w", name, err)
	}
	key = prefix + base64.RawURLEncoding.EncodeToString(raw)
	made, err = publish(folder, path, key)
	if err != nil {
		return "", false, fmt.Errorf("make %s: %w", name, err)
	}
	if !made {
		key, err = load(path)
	}
	return key, made, err
}

func load(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		return "", fmt.Errorf("read key: %s is empty", path)
	}
	return key, nil
}

// publish writes the key beside its place and links it there, which fails when
// somebody else was first: nobody ever sees half a key.
func publish(folder, path, key string) (made bool, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return false, err
	}
	file, err := os.CreateTemp(folder, filepath.Base(path)+".*")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.WriteString(key + "\n")
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return false, err
	}
	switch err := os.Link(file.Name(), path); {
	case err == nil:
		return true, durable.SyncFolder(folder)
	case errors.Is(err, fs.ErrExist):
		return false, nil
	default:
		return false, err
	}
}
