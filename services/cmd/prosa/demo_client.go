package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

const (
	// demoCallWithin is how long one call may take.
	demoCallWithin = 30 * time.Second
	// demoTries is how often a call is made that is asked to wait, at least a
	// second each time.
	demoTries = 5
)

// demoClient calls the REST surfaces of a gateway.
type demoClient struct{ base string }

// answeredError is an answer other than success.
type answeredError struct {
	path   string
	status int
	body   string
	// retryAfter is how long to wait before the same call, 0 when nothing is said.
	retryAfter time.Duration
}

func (e *answeredError) Error() string {
	return fmt.Sprintf("call %s: status %d: %s", e.path, e.status, e.body)
}

// answered says that an error is an answer with one of these statuses.
func answered(err error, statuses ...int) bool {
	var answer *answeredError
	if !errors.As(err, &answer) {
		return false
	}
	for _, status := range statuses {
		if answer.status == status {
			return true
		}
	}
	return false
}

// awaitReady waits until the gateway says that it, and what is behind it, is
// ready. waits is called once if it is not at first.
func (c demoClient) awaitReady(ctx context.Context, waits func() error) error {
	within, cancel := context.WithTimeout(ctx, demoWithin)
	defer cancel()
	for tries := 1; ; tries++ {
		err := c.try(within, http.MethodGet, "/readyz", http.Header{}, nil, nil)
		if err == nil {
			return nil
		}
		if tries == 1 {
			if err := waits(); err != nil {
				return err
			}
		}
		if pause(within, time.Second) != nil {
			return fmt.Errorf("wait for the gateway at %s: %w", c.base, err)
		}
	}
}

// call makes a call, and makes it again where the answer asks for that, with
// the same idempotency key: a process that has just started may have to ask
// callers to wait.
func (c demoClient) call(ctx context.Context, method, path, key string, fields, result any) error {
	header := http.Header{}
	if key != "" {
		header.Set("Authorization", "Bearer "+key)
	}
	if method == http.MethodPost {
		header.Set("Idempotency-Key", id.NewSource(clock.System(), nil).New())
	}
	for tries := 1; ; tries++ {
		err := c.try(ctx, method, path, header, fields, result)
		if !answered(err, http.StatusTooManyRequests, http.StatusServiceUnavailable) || tries == demoTries {
			return err
		}
		var answer *answeredError
		errors.As(err, &answer)
		if err := pause(ctx, max(time.Second, min(answer.retryAfter, demoCallWithin))); err != nil {
			return err
		}
	}
}

// try makes one call. What it answers is read into result unless that is nil.
func (c demoClient) try(ctx context.Context, method, path string, header http.Header, fields, result any) error {
	ctx, cancel := context.WithTimeout(ctx, demoCallWithin)
	defer cancel()
	var body io.Reader
	if fields != nil {
		encoded, err := json.Marshal(fields)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header = header.Clone()
	if fields != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // 0 when there is none
		return &answeredError{path: path, status: response.StatusCode, body: string(answer), retryAfter: time.Duration(seconds) * time.Second}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	return nil
}
