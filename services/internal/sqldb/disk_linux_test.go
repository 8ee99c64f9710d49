package sqldb_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// swapLog puts a device in the place of the write-ahead log's open file, so that the kernel answers the writer as a broken disk
// does: /dev/full has no room, and /dev/null takes everything and cannot sync. The log comes back with the returned function.
func swapLog(t *testing.T, options sqldb.Options, device string) (restore func()) {
	t.Helper()
	log, err := filepath.EvalSymlinks(filepath.Join(options.DataDir, options.Service+".db-wal"))
	require.NoError(t, err)
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	var found []int
	for _, entry := range open {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && strings.TrimSpace(target) == log {
			fd, err := strconv.Atoi(entry.Name())
			require.NoError(t, err)
			found = append(found, fd)
		}
	}
	require.Len(t, found, 1, "only the writer has the log open")
	saved, err := syscall.Dup(found[0])
	require.NoError(t, err)
	syscall.CloseOnExec(saved)
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, syscall.Dup3(int(file.Fd()), found[0], syscall.O_CLOEXEC))
	require.NoError(t, file.Close())
	return func() {
		require.NoError(t, syscall.Dup3(saved, found[0], syscall.O_CLOEXEC))
		require.NoError(t, syscall.Close(saved))
	}
}

func TestSyncErrorStopsTheStore(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	db, err := sqldb.Open(ctx, options)
	require.NoError(t, err)
	require.NoError(t, db.Write(ctx, insertFn("before")))
	restore := swapLog(t, options, "/dev/null")

	require.ErrorIs(t, db.Write(ctx, insertFn("unknown")), sqldb.ErrUnknownOutcome)
	<-db.Failed()
	restore()
	before := db.Stats().Commits
	err = db.Write(ctx, func(context.Context, sqldb.Tx) error {
		require.Fail(t, "runs in a failed store")
		return nil
	})
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.Equal(t, before, db.Stats().Commits, "though the disk works again, nothing is tried again")
	require.NoError(t, db.Close())

	again := testkit.Open(t, options)
	var n int
	require.NoError(t, again.Reader().QueryRowContext(ctx, count+" WHERE id = 'before'").Scan(&n))
	require.Equal(t, 1, n, "what was acknowledged is there")
}

func TestNoRoomForTheLogIsNotAFailure(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	db := testkit.Open(t, options)
	require.NoError(t, db.Write(ctx, insertFn("before")))
	restore := swapLog(t, options, "/dev/full")
	err := db.Write(ctx, insertFn("a"))
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.NotErrorIs(t, err, sqldb.ErrUnknownOutcome)
	select {
	case <-db.Failed():
		require.Fail(t, "a full disk is not a failed one")
	default:
	}
	restore()
	require.Equal(t, 1, rowCount(t, db.Reader()))
	require.NoError(t, db.Write(ctx, insertFn("a")))
	require.Equal(t, 2, rowCount(t, db.Reader()))
}
