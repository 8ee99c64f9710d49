package app

import (
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/prosa-chat/prosa/services/gateway"
)

// newOperations serves what operators and their tools ask: health, metrics,
// and profiles when asked for.
func newOperations(ready *readiness, registry *prometheus.Registry, profiles bool) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", gateway.Live())
	mux.Handle("GET /readyz", gateway.Ready(ready.problems))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: withProbe(ready, mux), Protocols: protocols, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
}
