package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// overloadSpan is how long each load lasts.
	overloadSpan = 3 * time.Second
	// overloadConnections are the callers of the load that is too much: each has a call under way at a time, and none waits for another.
	overloadConnections = 2048
	// overloadPatience is how long a caller waits for its answer; what comes later is of no use to it.
	overloadPatience = time.Second
)

// overloadFigure is what Prosa acknowledges in time at twice the load that it can take, over what it acknowledges at most.
type overloadFigure struct{ figure }

var overload = overloadFigure{figure{
	name: "overload", must: 0.9, reach: 0.95,
	settings: map[string]string{"turns": "false"},
}}

func (f overloadFigure) measure(ctx context.Context, binary string, p plan) (result, error) {
	receiver, err := newCounter() // nothing is answered, but a channel has a webhook
	if err != nil {
		return result{}, err
	}
	defer receiver.close()
	// One processor for Prosa, so that there is one to make twice the load with; this process has chosen how many it takes already.
	if err := os.Setenv("GOMAXPROCS", "1"); err != nil {
		return result{}, fmt.Errorf("limit processors: %w", err)
	}
	prosa, l, stop, err := startProsa(ctx, binary, p, f.settings, receiver)
	if unset := os.Unsetenv("GOMAXPROCS"); err == nil {
		err = unset
	}
	if err != nil {
		return result{}, err
	}
	defer stop()
	endpoint, err := url.Parse(l.url)
	if err != nil {
		return result{}, fmt.Errorf("read endpoint: %w", err)
	}
	most := &busyLoad{addr: endpoint.Host, channelID: l.channelID, connections: p.senders, operations: prosa.Metrics}
	if _, err := most.run(ctx); err != nil {
		return result{}, err
	}
	much := &busyLoad{addr: endpoint.Host, channelID: l.channelID, connections: overloadConnections, operations: prosa.Metrics, twice: most}
	r, err := f.alternate(ctx, p.pairs, much, most)
	if err != nil {
		return r, err
	}
	r.cost = much.perMessage()
	fmt.Printf("overload: of %d calls, %.2f times the most that it takes, %d acknowledged in time, %d late, %d turned away with Retry-After, %d otherwise; "+
		"CPU for each that was acknowledged %.0f µs, at the most %.0f µs\n",
		much.sent.Load(), float64(much.sent.Load())/much.lasted.Seconds()/median(r.reference), much.good.Load(), much.late.Load(), much.shed.Load(),
		much.other.Load(), r.cost.cpu, most.perMessage().cpu)
	if p.profiles == "" {
		return r, nil
	}
	return r, profile(ctx, prosa.Metrics, much, filepath.Join(p.profiles, f.name+".pprof"))
}

// busyLoad sends messages over raw connections, so that the generator takes little of the processors.
type busyLoad struct {
	addr, channelID string
	operations      string // where Prosa's metrics are
	connections     int
	// twice makes calls due at twice the rate that the other had last, whether calls before them were answered or not. Nil: a
	// connection sends when it has its answer.
	twice *busyLoad

	last                          float64 // acknowledged in time, a second
	lasted                        time.Duration
	spent                         cost // of all runs
	sent, good, late, shed, other atomic.Int64
}

// run gives how many messages a second were acknowledged in time.
func (l *busyLoad) run(ctx context.Context) (perSecond float64, err error) {
	interval := time.Duration(0)
	if l.twice != nil {
		interval = time.Duration(float64(time.Second) / (2 * l.twice.last))
	}
	before := l.good.Load()
	spent, err := readCost(ctx, l.operations)
	if err != nil {
		return 0, err
	}
	errs := make([]error, l.connections)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range l.connections {
		wg.Go(func() { errs[i] = l.talk(ctx, start, interval, &next) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	took := time.Since(start)
	l.last, l.lasted = float64(l.good.Load()-before)/took.Seconds(), l.lasted+took
	now, err := readCost(ctx, l.operations)
	l.spent.cpu += now.cpu - spent.cpu
	l.spent.commits += now.commits - spent.commits
	return l.last, err
}

// perMessage is what each message cost that was acknowledged in time, what was done for the others included.
func (l *busyLoad) perMessage() cost {
	good := float64(l.good.Load())
	return cost{cpu: l.spent.cpu / good, commits: l.spent.commits / good}
}

// talk sends over one connection until the span is over.
func (l *busyLoad) talk(ctx context.Context, start time.Time, interval time.Duration, next *atomic.Int64) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }() // what it was for is done
	reader := bufio.NewReader(conn)
	for ctx.Err() == nil {
		n := next.Add(1)
		due := time.Now()
		if interval > 0 {
			due = start.Add(time.Duration(n) * interval)
			time.Sleep(time.Until(due))
		}
		if due.Sub(start) > overloadSpan || time.Since(start) > overloadSpan {
			return nil
		}
		began := time.Now()
		status, retry, err := l.exchange(conn, reader, int(n))
		if err != nil {
			return err
		}
		l.sent.Add(1)
		switch {
		case status == http.StatusOK && time.Since(began) <= overloadPatience:
			l.good.Add(1)
		case status == http.StatusOK:
			l.late.Add(1)
		case status == http.StatusServiceUnavailable && retry:
			l.shed.Add(1)
		default:
			l.other.Add(1)
		}
	}
	return ctx.Err()
}

// exchange sends a message and reads the answer.
func (l *busyLoad) exchange(conn net.Conn, reader *bufio.Reader, n int) (status int, retry bool, err error) {
	body := `{"channelId":"` + l.channelID + `","clientIdentifier":"person-` + strconv.Itoa(n%conversations) +
		`","type":"text","text":"Olá, preciso de ajuda com o pedido ` + strconv.Itoa(n) + `"}`
	request := "POST /webhooks/api HTTP/1.1\r\nHost: " + l.addr + "\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, false, fmt.Errorf("send: %w", err)
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, false, fmt.Errorf("read answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was read to its end
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, false, fmt.Errorf("read answer: %w", err)
	}
	return response.StatusCode, response.Header.Get("Retry-After") != "", nil
}
