package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Tracing is where spans go.
type Tracing struct {
	// Provider makes tracers. It is never nil.
	Provider trace.TracerProvider
	// Enabled says that spans are kept and sent somewhere; when false, making them is wasted work.
	Enabled bool

	shutdown func(context.Context) error
}

// Shutdown sends what is still in memory and stops. It must be called once; it does nothing when tracing is not enabled.
func (t *Tracing) Shutdown(ctx context.Context) error { return t.shutdown(ctx) }

// NewTracerProvider returns tracing that sends spans by OTLP over gRPC to the endpoint, in the background and without ever
// holding up a call; or tracing that is not enabled when the endpoint is empty. The endpoint is host:port (plain text) or a URL:
// http:// for plain text, https:// for TLS. service becomes service.name, and instance, which tells the
// processes of a service apart, service.instance.id. Nothing is dialled before the first spans are sent, so
// a collector that is down does not keep the process from starting.
//
// ratio, from 0 to 1, is the part of the traces that is kept; see sampler.
func NewTracerProvider(ctx context.Context, otlpEndpoint, service, instance string, ratio float64) (*Tracing, error) {
	if otlpEndpoint == "" {
		return &Tracing{Provider: noop.NewTracerProvider(), shutdown: func(context.Context) error { return nil }}, nil
	}
	host, plain, err := parseEndpoint(otlpEndpoint)
	if err != nil {
		return nil, err
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(host)}
	if plain {
		options = append(options, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("start OTLP exporter: %w", err)
	}
	described, err := describe(service, instance)
	if err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described), sdktrace.WithSampler(sampler(ratio)))
	return &Tracing{Provider: provider, Enabled: true, shutdown: provider.Shutdown}, nil
}

// sampler keeps a part of the traces, whole: it goes by the trace's id, so that every process which has the same ratio decides alike.
// The flag of a parent elsewhere can take a trace out, which is how a process tells the next that it has decided so; it can put none
// in, for it may be a stranger's. What strangers say of it is not heard at all: see [WithStranger].
func sampler(ratio float64) sdktrace.Sampler {
	byID := sdktrace.TraceIDRatioBased(ratio)
	return sdktrace.ParentBased(byID, sdktrace.WithRemoteParentSampled(byID))
}

// parseEndpoint reads an OTLP endpoint: host:port, which is plain text, or a URL whose scheme says it.
func parseEndpoint(endpoint string) (host string, plain bool, err error) {
	wrong := errors.New("otlp-endpoint: must be host:port or an http or https URL")
	if !strings.Contains(endpoint, "://") {
		if host, port, err := net.SplitHostPort(endpoint); err != nil || host == "" || port == "" {
			return "", false, wrong
		}
		return endpoint, true, nil
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return "", false, wrong
	}
	return parsed.Host, parsed.Scheme == "http", nil
}

// describe says whose traces and metrics they are.
func describe(service, instance string) (*resource.Resource, error) {
	described, err := resource.Merge(resource.Default(), resource.NewSchemaless(
		attribute.String("service.name", service), attribute.String("service.instance.id", instance)))
	if err != nil {
		return nil, fmt.Errorf("describe process for telemetry: %w", err)
	}
	return described, nil
}
