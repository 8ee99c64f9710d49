package telemetry

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// polite stops sending to a collector that takes traces alone.
type polite struct {
	metric.Exporter
	refused atomic.Bool
}

// Export implements metric.Exporter.
func (p *polite) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	if p.refused.Load() {
		return nil
	}
	err := p.Exporter.Export(ctx, data)
	if status.Code(err) == codes.Unimplemented {
		p.refused.Store(true)
		return nil
	}
	return err
}

// SendMetrics sends what is registered by OTLP over gRPC, every minute and once more at the end, in the background; nothing when the
// endpoint is empty. The endpoint and service are as for NewTracerProvider; instance tells processes of one service apart. The function
// that it returns ends it, and must be called once. A collector that says that it takes no metrics is sent none any more.
func SendMetrics(
	ctx context.Context, otlpEndpoint, service, instance string, from prometheus.Gatherer,
) (shutdown func(context.Context) error, err error) {
	if otlpEndpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	host, plain, err := parseEndpoint(otlpEndpoint)
	if err != nil {
		return nil, err
	}
	options := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(host)}
	if plain {
		options = append(options, otlpmetricgrpc.WithInsecure())
	}
	exporter, err := otlpmetricgrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("start OTLP exporter of metrics: %w", err)
	}
	described, err := describe(service, instance)
	if err != nil {
		return nil, err
	}
	reader := metric.NewPeriodicReader(&polite{Exporter: exporter}, metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(from))))
	return metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(described)).Shutdown, nil
}
