package gateway

import (
	"log"
	"log/slog"
	"net/http"
	"time"
)

// readTimeout is how long a request may take to arrive.
const readTimeout = 15 * time.Second

// NewServer returns an HTTP server for the gateway, with its limits, to be given a listener. Slow headers, slow bodies and slow
// readers are cut off; the header is bounded here, because by the time a handler sees it, it has been read. (net/http reads 4 KiB
// more than it is told; the handler refuses what is between in the form of its surface.)
func (g *Gateway) NewServer() *http.Server {
	return &http.Server{
		Handler:           g.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTimeout,
		// The body, the call, and as long again as the body for the answer.
		WriteTimeout:                 readTimeout + max(g.botTimeout, g.chatTimeout) + readTimeout,
		IdleTimeout:                  60 * time.Second,
		MaxHeaderBytes:               MaxHeader,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is answered as every other unknown path
		ErrorLog:                     serverLog(g.logger),
	}
}

// serverLog is where net/http reports broken connections: the caller's doing, so it is no error here.
func serverLog(logger *slog.Logger) *log.Logger {
	return slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
}
