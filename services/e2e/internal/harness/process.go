package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Keys are given to every process under test, so that several agree.
const (
	RootKey   = "root-key-of-the-tests-0123456789abcdef"
	SecretKey = "secret-key-of-the-tests-0123456789abc"
)

// readyWithin is how long a process may take until it is ready. A slow
// machine under -race is meant; that a start is quick is measured elsewhere.
const readyWithin = 60 * time.Second

// Spec says how to start a process.
type Spec struct {
	// Binary is the path of prosa.
	Binary string
	// Roles are those to serve; none means all.
	Roles []string
	// Settings are settings by flag name. Addresses, keys and the permission
	// to reach loopback over http are added; keys that the roles do not need
	// are taken away.
	Settings map[string]string
}

// Process is prosa, running.
type Process struct {
	// HTTP is the base URL of the gateway, GRPC the address of the gRPC
	// services, Metrics the base URL of metrics and health.
	HTTP, GRPC, Metrics string

	spec    Spec
	command *exec.Cmd
	output  *tail
	done    chan struct{}
	err     error
}

// Start starts prosa and waits until it is ready.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	p, err := Launch(spec)
	if err != nil {
		return nil, err
	}
	if err := p.WaitReady(ctx); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w\n%s", err, p.Output())
	}
	return p, nil
}

// Launch starts prosa and does not wait.
func Launch(spec Spec) (*Process, error) {
	settings := map[string]string{
		"root-key":     RootKey,
		"secret-key":   SecretKey,
		"egress-allow": "127.0.0.0/8",
		"egress-http":  "true",
		"log-format":   "json",
		// One driver sends to one channel what a thousand users would not.
		"inbound-rate": "0",
	}
	for _, name := range []string{"http-addr", "grpc-addr", "metrics-addr"} {
		if spec.Settings[name] != "" {
			continue
		}
		addr, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		settings[name] = addr
	}
	for name, value := range spec.Settings {
		settings[name] = value
	}
	// As in deploy/kubernetes: a role gets the keys that it needs.
	if len(spec.Roles) > 0 && !slices.Contains(spec.Roles, "accounts") {
		delete(settings, "root-key")
	}
	if slices.Equal(spec.Roles, []string{"gateway"}) {
		delete(settings, "secret-key")
		delete(settings, "database-url")
	}

	p := &Process{
		HTTP:    "http://" + settings["http-addr"],
		GRPC:    settings["grpc-addr"],
		Metrics: "http://" + settings["metrics-addr"],
		spec:    Spec{Binary: spec.Binary, Roles: spec.Roles, Settings: settings},
		output:  &tail{},
		done:    make(chan struct{}),
	}
	p.command = exec.Command(spec.Binary, append([]string{"serve"}, spec.Roles...)...)
	p.command.Env = os.Environ()
	for name, value := range settings {
		variable := "PROSA_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		p.command.Env = append(p.command.Env, variable+"="+value)
	}
	p.command.Stdout, p.command.Stderr = p.output, p.output
	// A test that dies takes its processes with it.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start prosa: %w", err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.done)
	}()
	return p, nil
}

// Again starts a process that has ended as it was started before, on the same
// addresses and data, and does not wait.
func (p *Process) Again() (*Process, error) { return Launch(p.spec) }

// WaitReady waits until the process says that it is ready, or has ended.
func (p *Process) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return fmt.Errorf("prosa ended before it was ready: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("prosa is not ready: %w", ctx.Err())
		case <-ticker.C:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Metrics+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := probe.Do(request)
		if err != nil {
			continue
		}
		_ = response.Body.Close() // nothing was read from it
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// probe asks without keeping connections, which would be dead after a kill.
var probe = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Kill ends the process as a power cut would (kill -9) and waits until it is
// gone.
func (p *Process) Kill() {
	_ = p.command.Process.Kill() // it is gone already when this fails
	<-p.done
}

// Stop asks the process to end (SIGTERM), waits, and gives its exit error.
func (p *Process) Stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop prosa: %w", err)
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(readyWithin):
		p.Kill()
		return errors.New("stop prosa: it did not end")
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Output is the end of what the process wrote.
func (p *Process) Output() string { return p.output.String() }

// The ports that FreeAddr gives are below those that the system gives to
// outgoing connections and to listeners without a wish, so that nobody takes
// one between its choice and its use.
const (
	firstPort = 20000
	ports     = 12000
)

// nextPort is where FreeAddr looks next; processes begin at different places.
var nextPort atomic.Int64

func init() { nextPort.Store(int64(os.Getpid()) * 61) }

// FreeAddr gives a loopback address on which nothing listens, each but once.
func FreeAddr() (string, error) {
	for range ports {
		addr := net.JoinHostPort("127.0.0.1", strconv.FormatInt(firstPort+nextPort.Add(1)%ports, 10))
		listener, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, listener.Close()
		}
	}
	return "", errors.New("find a free port: there is none")
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

const tailBytes = 256 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buffer.Write(p)
	if over := t.buffer.Len() - tailBytes; over > 0 {
		t.buffer.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buffer.String()
}
