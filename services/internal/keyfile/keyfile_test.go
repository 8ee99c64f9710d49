package keyfile_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/keyfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAKeyIsMadeOnceAndKept(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	first, made, err := keyfile.LoadOrCreate(folder, "root.key", "prk_", nil)
	require.NoError(t, err)
	require.True(t, made)
	require.Regexp(t, `^prk_[A-Za-z0-9_-]{43}$`, first)

	info, err := os.Stat(filepath.Join(folder, "root.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	second, made, err := keyfile.LoadOrCreate(folder, "root.key", "prk_", nil)
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, first, second)

	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, files, 1, "nothing is left beside the key")
}

func TestProcessesThatStartAtOnceGetOneKey(t *testing.T) {
	folder := t.TempDir()
	const starts = 20
	keys := make([]string, starts)
	makers := make([]bool, starts)
	var wg sync.WaitGroup
	for i := range starts {
		wg.Go(func() {
			key, made, err := keyfile.LoadOrCreate(folder, "secret.key", "", nil)
			if err == nil {
				keys[i], makers[i] = key, made
			}
		})
	}
	wg.Wait()
	made := 0
	for i, key := range keys {
		require.Equal(t, keys[0], key)
		require.NotEmpty(t, key)
		if makers[i] {
			made++
		}
	}
	require.Equal(t, 1, made)
}

func TestAnEmptyKeyFileIsRefused(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "root.key"), []byte("\n"), 0o600))
	_, _, err := keyfile.LoadOrCreate(folder, "root.key", "", nil)
	require.ErrorContains(t, err, "is empty")
}
