package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prosa-chat/prosa/services/gateway"
	"github.com/prosa-chat/prosa/services/internal/app"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// demoWithin is how long the first answer may take: more than the minute
	// after which an endpoint that was away is tried again.
	demoWithin = 90 * time.Second
	// demoQuiet is how long after a message no other must come for the answer
	// to be whole.
	demoQuiet = 500 * time.Millisecond
)

type demoCommand struct {
	GatewayURL   string `name:"gateway-url" help:"A gateway elsewhere to show; give its --root-key too. Default: everything runs in this process."`
	PublicURL    string `name:"public-url" help:"Address of the gateway in what is shown, as the reader reaches it. Default: as the demo does."`
	ReceiverAddr string `help:"Address of the demo's receiver of webhooks. Default: a free port of loopback, if possible that of the last start."`
	ReceiverURL  string `name:"receiver-url" help:"The receiver as the channel role reaches it, which must be let (--egress-allow, --egress-http). Default: its address."`

	config.Settings `embed:""`
}

// Validate says everything that is wrong with the flags and settings.
func (c *demoCommand) Validate() error {
	faults := []error{c.Settings.Validate()}
	for _, given := range []struct{ name, url string }{
		{"gateway-url", c.GatewayURL}, {"public-url", c.PublicURL}, {"receiver-url", c.ReceiverURL},
	} {
		if u, err := url.Parse(given.url); given.url != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			faults = append(faults, fmt.Errorf("%s: must be http://… or https://…", given.name))
		}
	}
	if c.GatewayURL != "" && c.RootKey == "" {
		faults = append(faults, errors.New("root-key: is required with gateway-url"))
	}
	if err := config.CheckAddr(c.ReceiverAddr); c.ReceiverAddr != "" && err != nil {
		faults = append(faults, fmt.Errorf("receiver-addr: %w", err))
	}
	if c.ReceiverURL != "" && c.ReceiverAddr == "" {
		faults = append(faults, errors.New("receiver-addr: is required with receiver-url"))
	}
	return errors.Join(faults...)
}

// Run sends a first message, shows its answer, says what to try, and stays up.
func (c *demoCommand) Run(ctx context.Context, s streams) error {
	if c.GatewayURL != "" {
		return c.runElsewhere(ctx, s)
	}
	return c.runHere(ctx, s)
}

// runHere serves everything that it shows.
func (c *demoCommand) runHere(ctx context.Context, s streams) error {
	c.EgressHTTP = true
	c.EgressAllow = append(c.EgressAllow, "127.0.0.1/32")
	if c.LogLevel == "info" {
		c.LogLevel = "warn" // what is shown is the conversation
	}
	ready := make(chan app.Running, 1)
	return besides(ctx, func(ctx context.Context) error {
		return app.Run(ctx, app.Options{
			Settings: c.Settings,
			Version:  version,
			Log:      s.err,
			Terminal: isTerminal(s.err),
			Ready:    func(r app.Running) { ready <- r },
		})
	}, func(ctx context.Context) error {
		select {
		case running := <-ready:
			addr, err := fromHere(running.HTTPAddr)
			if err != nil {
				return fmt.Errorf("read address of the gateway: %w", err)
			}
			return c.show(ctx, s.out, "http://"+addr, running.RootKey, func() {})
		case <-ctx.Done():
			return nil
		}
	})
}

// runElsewhere shows a gateway that is there. It has health of its own: it is
// ready when the first answer has come.
func (c *demoCommand) runElsewhere(ctx context.Context, s streams) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.MetricsAddr)
	if err != nil {
		return fmt.Errorf("listen for operations: %w", err)
	}
	var shown atomic.Bool
	health := http.NewServeMux()
	health.Handle("GET /livez", gateway.Live())
	health.Handle("GET /readyz", gateway.Ready(func(context.Context) []gateway.Problem {
		if shown.Load() {
			return nil
		}
		return []gateway.Problem{{Component: "demo", Missing: "the first answer has not come yet"}}
	}))
	return besides(ctx, func(ctx context.Context) error { return serveHTTP(ctx, listener, health) }, func(ctx context.Context) error {
		return c.show(ctx, s.out, c.GatewayURL, c.RootKey, func() { shown.Store(true) })
	})
}

// besides runs two until either ends; being cut off by ctx or by the other's
// end is no error.
func besides(ctx context.Context, served, shown func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel() // what there is to show ends with it
		ended <- served(ctx)
	}()
	err := shown(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	return errors.Join(err, <-ended)
}

// show is the demonstration itself; it returns when ctx ends. up is called when
// the first answer has come.
func (c *demoCommand) show(ctx context.Context, out io.Writer, gatewayURL, rootKey string, up func()) error {
	d := demo{
		client:  demoClient{base: strings.TrimSuffix(gatewayURL, "/")},
		public:  strings.TrimSuffix(cmp.Or(c.PublicURL, gatewayURL), "/"),
		rootKey: rootKey,
		person:  "user-" + id.NewSource(clock.System(), nil).New()[18:],
		out:     out,
	}
	file := filepath.Join(c.DataDir, "demo.json")
	if err := d.state.read(file); err != nil {
		return err
	}
	listener, err := c.listen(ctx, d.state.ReceiverAddr)
	if err != nil {
		return err
	}
	d.state.ReceiverAddr = listener.Addr().String()
	receiverAddr, err := fromHere(d.state.ReceiverAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("read address of the receiver: %w", err), listener.Close())
	}
	receiverURL := cmp.Or(c.ReceiverURL, "http://"+receiverAddr+"/")
	arrived := make(chan struct{}, 1)
	handler, err := d.setUp(ctx, file, receiverURL, arrived)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	// Webhooks that came before this have waited for their connection.
	return besides(ctx, func(ctx context.Context) error { return serveHTTP(ctx, listener, handler) }, func(ctx context.Context) error {
		if err := d.sendFirst(ctx); err != nil {
			return err
		}
		if err := awaitAnswer(ctx, arrived); err != nil {
			return err
		}
		if err := d.converse(ctx); err != nil {
			return err
		}
		if err := d.explain(c); err != nil {
			return err
		}
		up()
		<-ctx.Done()
		return nil
	})
}

// listen takes the port of the last start when it is free, so that webhooks
// still under way arrive; else any.
func (c *demoCommand) listen(ctx context.Context, last string) (net.Listener, error) {
	addr := c.ReceiverAddr
	var config net.ListenConfig
	if addr == "" {
		if host, _, err := net.SplitHostPort(last); err == nil && host == "127.0.0.1" {
			if listener, err := config.Listen(ctx, "tcp", last); err == nil {
				return listener, nil
			}
		}
		addr = "127.0.0.1:0"
	}
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	return listener, nil
}

// demo is what is shown.
type demo struct {
	client  demoClient
	rootKey string
	// public is the gateway's address as the reader reaches it.
	public string
	out    io.Writer
	state  demoState
	// person is whose messages this start sends, in a conversation of its own
	// with the agent.
	person, conversation string
}

// setUp makes all that there has to be, and gives the receiver, which tells when
// webhooks arrive.
func (d *demo) setUp(ctx context.Context, file, receiverURL string, arrived chan<- struct{}) (http.Handler, error) {
	if err := d.client.awaitReady(ctx, func() error {
		_, err := fmt.Fprintf(d.out, "Waiting until the gateway at %s is ready.\n", d.client.base)
		return err
	}); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx, receiverURL); err != nil {
		return nil, err
	}
	if err := d.state.write(file); err != nil {
		return nil, err
	}
	var secrets []webhook.Secret
	for _, text := range []string{d.state.Channel.SigningSecret, d.state.BotAPI.SigningSecret} {
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("read signing secret: %w", err)
		}
		secrets = append(secrets, secret)
	}
	show := printReceived(d.out)
	return receiver.New(receiver.Options{
		Secrets: secrets,
		Clock:   clock.System(),
		Show: func(r receiver.Received) {
			show(r)
			select {
			case arrived <- struct{}{}:
			default: // one is known to have come
			}
		},
	}), nil
}

// awaitAnswer waits for the first message of an answer, and then until no more
// come.
func awaitAnswer(ctx context.Context, arrived <-chan struct{}) error {
	timer := clock.System().NewTimer(demoWithin)
	defer timer.Stop()
	for answered := false; ; answered = true {
		select {
		case <-arrived:
			timer.Reset(demoQuiet)
		case <-timer.C():
			if !answered {
				return fmt.Errorf("no answer within %s: look at the deliveries (GET /v1/instances/%s/deliveries)", demoWithin, demoInstance)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
