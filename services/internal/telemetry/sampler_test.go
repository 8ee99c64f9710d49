package telemetry

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func TestWhoDecidesWhatIsKept(t *testing.T) {
	const never = "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-" // no ratio under 1 keeps it
	const always = "00-ffffffffffffffff0000000000000000-b7ad6b7169203331-"
	for _, test := range []struct {
		name    string
		ratio   float64
		parent  func(context.Context, string) context.Context
		value   string
		sampled bool
	}{
		{"a new trace", 1, WithParent, "", true},
		{"no trace", 0, WithParent, "", false},
		{"the process before decided for it", 1, WithParent, never + "01", true},
		{"the process before decided against it", 1, WithParent, always + "00", false},
		{"it has another ratio", 0.5, WithParent, never + "01", false},
		{"a stranger cannot take a trace out", 1, WithStranger, always + "00", true},
		{"nor one of a part", 0.5, WithStranger, always + "00", true},
		{"nor put one in", 0.5, WithStranger, never + "01", false},
		{"nor put any in when none are kept", 0, WithStranger, always + "01", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler(test.ratio)))
			_, span := provider.Tracer("test").Start(test.parent(t.Context(), test.value), "x")
			require.Equal(t, test.sampled, span.SpanContext().IsSampled())
		})
	}
}
