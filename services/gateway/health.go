package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// readyTimeout is how long the check of readiness may take.
const readyTimeout = 5 * time.Second

// Problem is one thing that keeps a process from being ready.
type Problem struct {
	// Component is the part that is not ready: "channel", "store".
	Component string
	// Missing says what is missing, in words that hold no host and no credential.
	Missing string
	// Remedy says what to do or to run; empty when waiting is all there is.
	Remedy string
}

// Live answers 200 "ok": the process is up.
func Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok"))
	})
}

// Ready answers 200 {"status":"ok"}, or 503 with what is missing. The check must end within 5 seconds, or with its context.
func Ready(check func(context.Context) []Problem) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		problems := check(ctx)
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("Cache-Control", "no-store")
		if len(problems) == 0 {
			_, _ = w.Write([]byte(`{"status":"ok"}`))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(appendProblems(nil, problems))
	})
}

func appendProblems(dst []byte, problems []Problem) []byte {
	dst = append(dst, `{"status":"unavailable","problems":[`...)
	for i, p := range problems {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = messagejson.AppendString(append(dst, `{"component":`...), p.Component)
		dst = messagejson.AppendString(append(dst, `,"missing":`...), p.Missing)
		dst = messagejson.AppendString(append(dst, `,"remedy":`...), p.Remedy)
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// readiness is the gateway's own: once it drains it is not ready, whatever the rest says.
func (g *Gateway) readiness(ctx context.Context) []Problem {
	if g.draining.Load() {
		return []Problem{{Component: "gateway", Missing: "the process is shutting down"}}
	}
	return g.ready(ctx)
}
