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
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

type listenCommand struct {
	Port   int      `default:"8090" help:"Port on loopback; 0 takes a free one."`
	Secret []string `help:"Signing secrets (whsec_…) to verify with, separated by commas: what none of them signed is answered with status 401. Default: signatures are not verified."`

	Delay     time.Duration `default:"0s" help:"How long each answer waits."`
	FailRate  *float64      `help:"Share of webhooks that fail, from 0 to 1. Default: 1 when a flag below says how, else 0."`
	FailFirst int           `default:"0" help:"How many webhooks fail before the first that does not have to."`

	Status     []int         `xor:"failure" help:"Statuses that failures are answered with, in turn, separated by commas; 410 disables the channel. Default: 500, or 503 with --retry-after."`
	RetryAfter string        `help:"Retry-After of failures: seconds or an HTTP date, sent as it is."`
	Body       string        `xor:"failure" help:"Failures are answered with status 200 and this body instead of {\"status\":\"ok\"}."`
	Drop       bool          `xor:"failure" help:"Failures end the connection without an answer."`
	Slow       time.Duration `xor:"failure" help:"Failures are acknowledged, but each byte of the answer waits for this long."`
}

// Validate refuses what cannot be meant.
func (c *listenCommand) Validate() error {
	if c.FailRate != nil && !(*c.FailRate >= 0 && *c.FailRate <= 1) { // also what is no number
		return errors.New("fail-rate: must be from 0 to 1")
	}
	if c.FailFirst < 0 {
		return errors.New("fail-first: must not be negative")
	}
	if c.Delay < 0 {
		return errors.New("delay: must not be negative")
	}
	if c.Slow < 0 {
		return errors.New("slow: must not be negative")
	}
	for _, status := range c.Status {
		if status < 200 || status > 599 {
			return errors.New("status: must be from 200 to 599")
		}
	}
	if strings.ContainsFunc(c.RetryAfter, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("retry-after: must be printable ASCII")
	}
	return nil
}

// misbehaviour is what the flags say.
func (c *listenCommand) misbehaviour() receiver.Misbehaviour {
	m := receiver.Misbehaviour{
		FailFirst: c.FailFirst, Statuses: c.Status, RetryAfter: c.RetryAfter, Drop: c.Drop, WrongBody: c.Body, Slow: c.Slow,
	}
	says := len(c.Status) > 0 || c.RetryAfter != "" || c.Drop || c.Body != "" || c.Slow > 0
	switch {
	case c.FailRate != nil:
		m.FailRate = *c.FailRate
	case says && c.FailFirst == 0:
		m.FailRate = 1
	}
	if c.RetryAfter != "" && len(c.Status) == 0 {
		m.Statuses = []int{http.StatusServiceUnavailable}
	}
	return m
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
		Secrets:      secrets,
		Misbehaviour: c.misbehaviour(),
		Delay:        c.Delay,
		Random:       globalRandom{},
		Clock:        clock.System(),
		Show:         printReceived(s.out),
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
		status, note := strconv.Itoa(r.Status), ""
		switch {
		case r.Status == 0:
			status = "dropped"
		case r.Problem != nil:
			note = " (" + r.Problem.Error() + ")"
		case r.Note != "":
			note = " (" + r.Note + ")"
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(w, "<- %s%s #%s %s\n   %s\n", status, note, printable(r.Sequence), printable(r.ID), printable(string(r.Body))) // nobody is left to tell
	}
}

// printable makes one line, without codes that a terminal obeys, of what a
// stranger sent.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\uFFFD' || unicode.IsPrint(r) {
			return r
		}
		return '\u00B7'
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// serveHTTP serves until ctx ends, then lets the requests in flight end.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, // who waits on purpose stops waiting
	}
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
