package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	startAttempts = 5 // another process may take the port first
	startTimeout  = 30 * time.Second
	startPoll     = 20 * time.Millisecond
)

// private is this process's server, started by the first test that needs it.
var private struct {
	sync.Mutex
	url  string
	err  error
	stop func() error
}

// findBinaries is the directory of initdb and postgres, or "".
func findBinaries() string {
	var candidates []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(resolved))
		}
	}
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err == nil {
		candidates = append(candidates, installed...)
	}
	for _, dir := range candidates {
		if isFile(filepath.Join(dir, "postgres")) && isFile(filepath.Join(dir, "initdb")) {
			return dir
		}
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// startServer starts the server or returns the URL of the one that runs.
func startServer(bin string) (string, error) {
	private.Lock()
	defer private.Unlock()
	if private.url == "" && private.err == nil {
		private.url, private.stop, private.err = launch(bin)
	}
	return private.url, private.err
}

func stopServer() error {
	private.Lock()
	defer private.Unlock()
	if private.stop == nil {
		return nil
	}
	err := private.stop()
	private.url, private.stop = "", nil
	return err
}

func launch(bin string) (address string, stop func() error, err error) {
	account, err := chooseAccount()
	if err != nil {
		return "", nil, err
	}
	removeStale()
	dir, err := os.MkdirTemp("", directoryPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", nil, fmt.Errorf("make directory: %w", err)
	}
	if err := account.own(dir); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	data := filepath.Join(dir, "data")
	if err := copyTemplate(bin, account, data); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	for range startAttempts {
		var process *serverProcess
		process, err = startProcess(bin, data, account)
		if err == nil {
			return process.url(), func() error { return errors.Join(process.stop(), os.RemoveAll(dir)) }, nil
		}
	}
	return "", nil, errors.Join(err, os.RemoveAll(dir))
}

const directoryPrefix = "prosa-postgres-"

// removeStale removes what processes left behind that were killed.
func removeStale() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix+"*-*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), directoryPrefix), "-")
		number, err := strconv.Atoi(pid)
		if err == nil && errors.Is(syscall.Kill(number, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // the next one tries again
		}
	}
}

// account is the user that the server runs as: PostgreSQL refuses to run as root.
type account struct {
	name       string
	credential *syscall.Credential // nil: the user of this process
	uid        int
}

func chooseAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "self", uid: os.Geteuid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			continue
		}
		return account{name: name, uid: int(uid), credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("run as root, and there is no user postgres or nobody to run the server as")
}

func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	if err := os.Chown(path, int(a.credential.Uid), int(a.credential.Gid)); err != nil {
		return fmt.Errorf("give directory to %s: %w", a.name, err)
	}
	return nil
}

func (a account) command(dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential}
	return cmd
}

// copyTemplate copies a data directory that is made once for a machine, version and user: initdb takes seconds.
func copyTemplate(bin string, a account, to string) error {
	version, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return fmt.Errorf("ask postgres for its version: %w", err)
	}
	base := filepath.Join(os.TempDir(), fmt.Sprintf("%stemplate_%s_%d", directoryPrefix, word(version), a.uid))
	unlock, err := lock(base + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		if err := makeTemplate(bin, a, base); err != nil {
			return err
		}
	}
	out, err := a.command("/", "cp", "-a", "--reflink=auto", base, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy data directory: %w: %s", err, out)
	}
	return nil
}

// word keeps of "postgres (PostgreSQL) 15.18 (Debian …)" what may be in a file name.
func word(version []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, version))
}

func makeTemplate(bin string, a account, base string) error {
	draft, err := os.MkdirTemp("", directoryPrefix+strconv.Itoa(os.Getpid())+"-draft-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := a.own(draft); err != nil {
		return err
	}
	out, err := a.command("/", filepath.Join(bin, "initdb"), "--pgdata", draft, "--username", "prosa", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--wal-segsize", "1").CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("run initdb: %w: %s", err, out), os.RemoveAll(draft))
	}
	if err := os.Rename(draft, base); err != nil {
		return errors.Join(fmt.Errorf("keep data directory: %w", err), os.RemoveAll(draft))
	}
	return nil
}

func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// serverProcess is a running server.
type serverProcess struct {
	port   int
	cmd    *exec.Cmd
	output *bytes.Buffer // read after exited only
	exited chan error
}

func (p *serverProcess) url() string {
	return fmt.Sprintf("postgres://prosa@127.0.0.1:%d/postgres?sslmode=disable", p.port)
}

// startProcess starts a server on a free port of the loopback interface. It has nothing to lose, so it syncs nothing.
func startProcess(bin, data string, a account) (*serverProcess, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	return startOn(port, bin, data, a)
}

// startOn starts a server on a port; further arguments may say that something is kept after all.
func startOn(port int, bin, data string, a account, further ...string) (*serverProcess, error) {
	p := &serverProcess{port: port, output: &bytes.Buffer{}, exited: make(chan error, 1)}
	p.cmd = a.command(data, filepath.Join(bin, "postgres"), append([]string{"-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
		"-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "autovacuum=off", "-c", "jit=off",
		"-c", "shared_buffers=32MB", "-c", "max_connections=200"}, further...)...)
	if dir := os.Getenv(LogVariable); dir != "" {
		p.cmd.Args = append(p.cmd.Args, logTo(dir, port)...)
	}
	// If this process dies the server gets SIGQUIT, which is its immediate shutdown.
	p.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	started := make(chan error, 1)
	go func() {
		// "Parent" means the thread that started it, so this goroutine keeps its thread as long as the server runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.exited <- p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	if err := p.await(); err != nil {
		return nil, err
	}
	return p, nil
}

// logTo are the settings with which a server writes every statement that it is given into a file of its own: lines of JSON, as in
// https://www.postgresql.org/docs/15/runtime-config-logging.html. The values of parameters are left out.
func logTo(dir string, port int) []string {
	name := fmt.Sprintf("%d-%d.log", os.Getpid(), port)
	return []string{
		"-c", "logging_collector=on", "-c", "log_destination=jsonlog", "-c", "log_directory=" + dir, "-c", "log_filename=" + name,
		"-c", "log_rotation_age=0", "-c", "log_rotation_size=0", "-c", "log_statement=all", "-c", "log_parameter_max_length=0",
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// await returns when the server takes connections.
func (p *serverProcess) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		conn, err := pgx.Connect(ctx, p.url())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case exit := <-p.exited:
			return fmt.Errorf("postgres ended: %w: %s", errors.Join(exit, err), p.output)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for postgres: %w", err), p.stop())
		case <-poll.C:
		}
	}
}

func (p *serverProcess) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	if err := <-p.exited; err != nil {
		// An immediate shutdown is not a clean one; it has an exit code of its own.
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return fmt.Errorf("wait for the end of postgres: %w", err)
		}
	}
	return nil
}
