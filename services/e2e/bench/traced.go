package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// traced is a ratio too: the whole way with traces, over the same without.
type traced struct {
	figure
	// ratio is the part of the traces that is kept.
	ratio string
}

var (
	tracedWay  = traced{figure: figure{name: "traced, all", must: 0.85, reach: 0.95, whole: true}, ratio: "1"}
	sampledWay = traced{figure: figure{name: "traced, 1 %", must: 0.95, reach: 1, whole: true}, ratio: "0.01"}
)

func (t traced) measure(ctx context.Context, binary string, p plan) (result, error) {
	if p.postgres != "" {
		return result{}, errors.New("two processes side by side: measured on the embedded store only")
	}
	receiver, err := newCounter()
	if err != nil {
		return result{}, err
	}
	defer receiver.close()
	collector, stop, err := startCollector()
	if err != nil {
		return result{}, err
	}
	defer stop()
	with, a, stopWith, err := startProsa(ctx, binary, p, map[string]string{"otlp-endpoint": collector, "trace-ratio": t.ratio}, receiver)
	if err != nil {
		return result{}, err
	}
	defer stopWith()
	_, b, stopWithout, err := startProsa(ctx, binary, p, nil, receiver)
	if err != nil {
		return result{}, err
	}
	defer stopWithout()
	a.receiver, b.receiver = receiver, receiver
	r, err := t.alternate(ctx, p.pairs, a, b)
	if err != nil {
		return r, err
	}
	r.cost, err = measureCost(ctx, with.Metrics, a)
	return r, err
}

// startCollector takes traces by OTLP and throws them away, unread: what a real
// collector does with them is another machine's work.
func startCollector() (endpoint string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for traces: %w", err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(nil); err != nil {
			return err
		}
		return stream.SendMsg(nil)
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends by Stop
	}()
	return listener.Addr().String(), func() { server.Stop(); <-served }, nil
}

// raw is a codec that neither reads nor writes.
type raw struct{}

func (raw) Marshal(any) (mem.BufferSlice, error) { return nil, nil }
func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }
func (raw) Name() string                         { return "proto" }
