package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// conversations is over how many persons the messages go.
const conversations = 1000

// load sends messages to an endpoint.
type load struct {
	url       string
	channelID string
	plan      plan
	// receiver counts the answers; nil when only acknowledgements count.
	receiver *counter
}

// run sends the messages and gives how many a second went the measured way.
func (l load) run(ctx context.Context) (perSecond float64, err error) {
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConns: l.plan.senders, MaxIdleConnsPerHost: l.plan.senders},
	}
	defer client.CloseIdleConnections()
	var arrived <-chan struct{}
	if l.receiver != nil {
		arrived = l.receiver.expect(l.plan.messages)
	}
	var next atomic.Int64
	errs := make([]error, l.plan.senders)
	var wg sync.WaitGroup
	start := time.Now()
	for sender := range l.plan.senders {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(l.plan.messages) {
					return
				}
				for again := true; again; {
					if again, errs[sender] = l.send(ctx, client, int(n)); errs[sender] != nil {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	if arrived != nil {
		if err := l.receiver.await(ctx, arrived, l.plan.messages); err != nil {
			return 0, err
		}
	}
	return float64(l.plan.messages) / time.Since(start).Seconds(), nil
}

// send sends a message once. Who is told that there is too much to do waits as
// long as was asked, and is to send it again.
func (l load) send(ctx context.Context, client *http.Client, n int) (again bool, err error) {
	body := `{"channelId":"` + l.channelID + `","clientIdentifier":"person-` + strconv.Itoa(n%conversations) +
		`","type":"text","text":"Olá, preciso de ajuda com o pedido ` + strconv.Itoa(n) + `"}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader([]byte(body)))
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return false, fmt.Errorf("send: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false, fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return false, nil
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if response.StatusCode != http.StatusServiceUnavailable || err != nil {
		return false, fmt.Errorf("send: status %d", response.StatusCode)
	}
	clock.Wait(ctx, clock.System(), time.Duration(seconds)*time.Second, nil)
	return true, ctx.Err()
}

// counter is a receiver that acknowledges and counts.
type counter struct {
	url     string
	server  *http.Server
	missing atomic.Int64
	done    atomic.Pointer[chan struct{}]
}

func newCounter() (*counter, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	c := &counter{url: "http://" + listener.Addr().String() + "/hook"}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // ends with close
	return c, nil
}

// expect starts a count; the channel is closed when it is full.
func (c *counter) expect(count int) <-chan struct{} {
	done := make(chan struct{})
	c.done.Store(&done)
	c.missing.Store(int64(count))
	return done
}

// await waits for the channel that expect gave for a count.
func (c *counter) await(ctx context.Context, arrived <-chan struct{}, count int) error {
	select {
	case <-arrived:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("answers are missing: %d of %d", c.missing.Load(), count)
	}
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"ok"}`) // the sender is gone when this fails
	if c.missing.Add(-1) == 0 {
		close(*c.done.Load())
	}
}

func (c *counter) close() { _ = c.server.Close() } // nothing is left to do when this fails

// awaitListener waits until something listens.
func awaitListener(addr string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: %w", addr, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
