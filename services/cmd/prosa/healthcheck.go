package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

type healthcheckCommand struct {
	MetricsAddr string        `default:"127.0.0.1:9464" help:"The metrics address of the process to ask."`
	Live        bool          `help:"Ask whether the process is up (/livez) and not whether it is ready (/readyz)."`
	Timeout     time.Duration `default:"2s" help:"How long the answer may take."`
}

// Run asks once: it exits 0 when the process is healthy, else 1 with what the
// process said.
func (c *healthcheckCommand) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	addr, err := fromHere(c.MetricsAddr)
	if err != nil {
		return fmt.Errorf("read metrics-addr: %w", err)
	}
	path := "/readyz"
	if c.Live {
		path = "/livez"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		_, _ = io.Copy(s.err, io.LimitReader(response.Body, 64<<10)) // the status says enough
		return exitCode(1)
	}
	return nil
}

// fromHere is the address at which this machine reaches what listens on addr:
// what listens everywhere is reached on loopback.
func fromHere(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
