package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

type listenCommand struct {
	Port     int           `default:"8090" help:"Port on loopback; 0 takes a free one."`
	Secret   []string      `help:"Signing secrets (whsec_…) to verify with, separated by commas. Default: signatures are not verified."`
	FailRate float64       `default:"0" help:"Share of webhooks that are answered with status 500, from 0 to 1."`
	Delay    time.Duration `default:"0s" help:"How long each answer waits."`
}

// Validate refuses what cannot be meant.
func (c *listenCommand) Validate() error {
	if c.FailRate < 0 || c.FailRate > 1 {
		return errors.New("fail-rate: must be from 0 to 1")
	}
	if c.Delay < 0 {
		return errors.New("delay: must not be negative")
	}
	return nil
}

// Run receives until the process is told to stop.
func (c *listenCommand) Run(ctx context.Context, s streams) error {
	secrets := make([]webhook.Secret, len(c.Secret))
	for i, text := range c.Secret {
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			return fmt.Errorf("read secret %d: %w", i+1, err)
		}
		secrets[i] = secret
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	handler := receiver.New(receiver.Options{
		Secrets:  secrets,
		FailRate: c.FailRate,
		Delay:    c.Delay,
		Random:   globalRandom{},
		Clock:    clock.System(),
		Show:     printReceived(s.out),
	})
	if _, err := fmt.Fprintf(s.out, "Receiving webhooks at http://%s/ (verifying signatures: %t). Stop with Ctrl-C.\n", listener.Addr(), len(secrets) > 0); err != nil {
		return errors.Join(err, listener.Close())
	}
	return serveHTTP(ctx, listener, handler)
}

// globalRandom is the source of the process, safe for concurrent use.
type globalRandom struct{}

func (globalRandom) Float64() float64 { return rand.Float64() }

// printReceived writes a line a webhook.
func printReceived(w io.Writer) func(receiver.Received) {
	var mu sync.Mutex
	return func(r receiver.Received) {
		problem := ""
		if r.Problem != nil {
			problem = " (" + r.Problem.Error() + ")"
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(w, "<- %d%s #%s %s\n   %s\n", r.Status, problem, r.Sequence, r.ID, r.Body) // nobody is left to tell
	}
}

// serveHTTP serves until ctx ends, then lets the requests in flight end.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(grace)
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
