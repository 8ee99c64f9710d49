package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/gen/openapi"
	"github.com/prosa-chat/prosa/services/gateway"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

// serveEcho is the reference of durable accept: the gateway of Prosa, with an
// echo that stores nothing behind loopback gRPC.
func serveEcho(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	clk := clock.System()
	ids := id.NewSource(clk, nil)
	server := grpc.NewServer()
	channelv1.RegisterInboundServiceServer(server, echo{ids: ids})
	go func() { _ = server.Serve(listener) }() // the process is killed when it is no longer needed
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	front, err := gateway.New(gateway.Config{}, gateway.Deps{
		Accounts: conn, Channel: conn, Agent: conn, Contacts: conn,
		Clock: clk, IDs: ids, Logger: slog.New(slog.DiscardHandler),
		Ready:   func(context.Context) []gateway.Problem { return nil },
		OpenAPI: openapi.Document,
	})
	if err != nil {
		return fmt.Errorf("build gateway: %w", err)
	}
	return serveOn(ctx, addr, front.NewServer())
}

// echo answers every message as if it were stored.
type echo struct {
	channelv1.UnimplementedInboundServiceServer
	ids *id.Source
}

func (e echo) ReceiveMessage(context.Context, *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
	return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: e.ids.New()}, nil
}

// serveRelay is the reference of the whole way: on each POST one POST is sent,
// and nothing is stored.
func serveRelay(ctx context.Context, addr, target string) error {
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096},
	}
	return serve(ctx, addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if err := post(r.Context(), client, target, body); err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"ok"}`) // the caller is gone when this fails
	}))
}

func post(ctx context.Context, client *http.Client, target string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func serve(ctx context.Context, addr string, handler http.Handler) error {
	return serveOn(ctx, addr, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second})
}

// serveOn serves until the process is told to end.
func serveOn(ctx context.Context, addr string, server *http.Server) error {
	server.Addr = addr
	go func() {
		<-ctx.Done()
		_ = server.Close() // the process ends
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
