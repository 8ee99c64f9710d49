package testkit

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// RedisServer is a Redis server of one test's own, which keeps nothing on disk.
type RedisServer struct {
	// URL is where it listens, the same after every start: a socket in the file system.
	URL string

	socket string
	binary string
	cmd    *exec.Cmd
	output *bytes.Buffer // read after exited only
	exited chan error
}

// Redis starts a server that ends with the test. If redis-server is not installed the test is skipped, and fails when CI=true.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		missing(t, "no Redis: install its server (redis-server on the PATH)")
	}
	dir, err := os.MkdirTemp("", "prosa-redis-") // not t.TempDir: the names of sockets are short
	require.NoError(t, err)
	socket := filepath.Join(dir, "s")
	s := &RedisServer{URL: "unix://" + socket, socket: socket, binary: binary}
	s.Start(t)
	t.Cleanup(func() {
		s.Kill(t)
		require.NoError(t, os.RemoveAll(dir))
	})
	return s
}

// Start starts the server, empty, and returns when it takes commands.
func (s *RedisServer) Start(t testing.TB) {
	t.Helper()
	require.Nil(t, s.cmd, "it runs already")
	s.output, s.exited = &bytes.Buffer{}, make(chan error, 1)
	s.cmd = exec.Command(s.binary, "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--daemonize", "no")
	s.cmd.Dir = filepath.Dir(s.socket)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	// If this process dies the server does.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited, cmd := make(chan error, 1), s.exited, s.cmd
	go func() {
		// "Parent" means the thread that started it, so this goroutine keeps its thread as long as the server runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exited <- cmd.Wait()
		}
	}()
	require.NoError(t, <-started, "start redis-server")
	deadline := time.Now().Add(startTimeout)
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for !s.answers() {
		select {
		case err := <-s.exited:
			require.Fail(t, "redis-server ended", "%v: %s", err, s.output)
		case now := <-poll.C:
			require.True(t, now.Before(deadline), "redis-server does not answer")
		}
	}
}

// answers asks once.
func (s *RedisServer) answers() bool {
	conn, err := net.DialTimeout("unix", s.socket, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // nothing more is wanted of it
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "+PONG")
}

// Kill ends the server at once, with all that it holds, and waits until it is gone. It may be killed twice.
func (s *RedisServer) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	require.NoError(t, s.cmd.Process.Kill())
	require.Error(t, <-s.exited, "it was killed")
	s.cmd = nil
}

// Freeze has the server take connections and answer nothing; Thaw has it go on.
func (s *RedisServer) Freeze(t testing.TB) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
}

// Thaw has a frozen server go on.
func (s *RedisServer) Thaw(t testing.TB) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
}

// Stat is a number of a section of the server's INFO. What INFO itself adds to it is in it.
func (s *RedisServer) Stat(t testing.TB, section, name string) int64 {
	t.Helper()
	// db0:keys=2,expires=2,… and name:number
	found := regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(name) + `[:=](\d+)`).FindStringSubmatch(s.info(t, section))
	require.NotNil(t, found, name)
	n, err := strconv.ParseInt(found[1], 10, 64)
	require.NoError(t, err)
	return n
}

// Calls is how often a command was called, by clients and by scripts.
func (s *RedisServer) Calls(t testing.TB, command string) int64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^cmdstat_` + regexp.QuoteMeta(command) + `:calls=(\d+)`).FindStringSubmatch(s.info(t, "commandstats"))
	if found == nil {
		return 0
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	require.NoError(t, err)
	return n
}

func (s *RedisServer) info(t testing.TB, section string) string {
	t.Helper()
	conn, err := net.Dial("unix", s.socket)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }() // nothing more is wanted of it
	_, err = conn.Write([]byte("INFO " + section + "\r\n"))
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n') // "$" and the length of what comes
	require.NoError(t, err)
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "$")))
	require.NoError(t, err, line)
	text := make([]byte, size)
	_, err = io.ReadFull(reader, text)
	require.NoError(t, err)
	return string(text)
}
