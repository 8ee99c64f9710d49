package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

// instant is a connection that answers at once: what is left is the gateway alone.
type instant struct{ failing }

func (instant) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	proto.Merge(reply.(proto.Message), &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"})
	return nil
}

type discarder struct{ header http.Header }

func (d *discarder) Header() http.Header         { return d.header }
func (d *discarder) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarder) WriteHeader(int)             {}

// BenchmarkReceiveMessage is the busiest call, without sockets: the gateway alone, then with an in-process channel, then with
// the whole chain behind it.
func BenchmarkReceiveMessage(b *testing.B) {
	bare := &inprocgrpc.Channel{}
	channelv1.RegisterInboundServiceServer(bare, &fakes{})
	_, chained := newFakes(b)
	for _, bench := range []struct {
		name string
		conn grpc.ClientConnInterface
	}{{"gateway alone", instant{}}, {"in process", bare}, {"in process with chain", chained}} {
		b.Run(bench.name, func(b *testing.B) {
			g, err := New(Config{}, Deps{
				Accounts: bench.conn, Channel: bench.conn, Agent: bench.conn, Contacts: bench.conn, Clock: clock.System(),
				IDs: id.NewSource(clock.System(), nil), Logger: slog.New(slog.DiscardHandler),
				Ready: func(context.Context) []Problem { return nil }, OpenAPI: []byte("{}"), Metrics: prometheus.NewRegistry(),
			})
			require.NoError(b, err)
			handler := g.Handler()
			request := httptest.NewRequest(http.MethodPost, "/webhooks/api", nil)
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("User-Agent", "bench")
			request.Header.Set("Accept", "*/*")
			body := strings.NewReader(goodMessage)
			request.ContentLength = int64(len(goodMessage))
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(goodMessage)
				request.Body = io.NopCloser(body)
				w := &discarder{header: make(http.Header, 8)}
				handler.ServeHTTP(w, request)
			}
		})
	}
}

// BenchmarkReceiveMessageOverSockets is the same with net/http on both sides, on the cores that there are: client, server and
// service together.
func BenchmarkReceiveMessageOverSockets(b *testing.B) {
	h := newHarness(b, Config{})
	h.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			request, _ := http.NewRequest(http.MethodPost, "http://"+h.address+"/webhooks/api", strings.NewReader(goodMessage))
			request.Header.Set("Content-Type", "application/json")
			response, err := h.client.Do(request)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				b.Errorf("status %d", response.StatusCode)
				return
			}
		}
	})
}
