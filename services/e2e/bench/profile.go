package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
)

// profileSeconds is how long a profile is taken.
const profileSeconds = 30

// profile writes a CPU profile of Prosa under a load into a file. It is taken
// after the figure, so that it does not disturb it.
func profile(ctx context.Context, operations string, l runner, file string) error {
	taken := make(chan error, 1)
	go func() {
		taken <- fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", operations, profileSeconds), file)
	}()
	for {
		select {
		case err := <-taken:
			return err
		default:
		}
		if _, err := l.run(ctx); err != nil {
			return err
		}
	}
}

// fetch stores what a URL answers in a file.
func fetch(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("fetch profile: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("fetch profile: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch profile: status %d", response.StatusCode)
	}
	return os.WriteFile(file, content, 0o600)
}
