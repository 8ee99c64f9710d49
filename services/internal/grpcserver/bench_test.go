package grpcserver_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

// BenchmarkReceiveMessage is what the chain, and the way within the process, cost the hot call; its handler does nothing.
func BenchmarkReceiveMessage(b *testing.B) {
	request := &channelv1.ReceiveMessageRequest{ChannelId: keyID, ClientIdentifier: "5511999990000", Type: "text", Text: strings.Repeat("Olá! ", 20)}
	chain := grpcserver.NewChain(grpcserver.ChainDeps{
		Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)), Clock: clock.System(), IDs: id.NewSource(clock.System(), nil),
		Metrics: telemetry.NewRegistry(), Verifier: &verifier{},
	})
	b.Run("chain", func(b *testing.B) {
		links := chain.Unary()
		info := &grpc.UnaryServerInfo{FullMethod: channelv1.InboundService_ReceiveMessage_FullMethodName}
		handler := func(ctx context.Context, request any) (any, error) { return &channelv1.ReceiveMessageResponse{}, nil }
		for i := len(links) - 1; i >= 0; i-- {
			link, next := links[i], handler
			handler = func(ctx context.Context, request any) (any, error) { return link(ctx, request, info, next) }
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := handler(b.Context(), request); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in process", func(b *testing.B) {
		p := grpcserver.NewInProcess(chain)
		channelv1.RegisterInboundServiceServer(p, &services{})
		inbound := channelv1.NewInboundServiceClient(p.Public())
		// As the gateway calls: with a deadline, a request id, and room for what comes beside the answer.
		ctx, cancel := context.WithTimeout(with(b.Context(), "x-request-id", "64a1b2c3d4e5f6a7b8c9d0e9"), time.Hour)
		defer cancel()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				var header, trailer metadata.MD
				if _, err := inbound.ReceiveMessage(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
