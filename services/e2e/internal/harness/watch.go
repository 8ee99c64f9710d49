package harness

import (
	"net/http"
	"sync"
)

// Watch looks at every answer that clients get. It may be used by many.
type Watch struct {
	// From is the least status that is a fault.
	From int

	mu      sync.Mutex
	leaving int
	faults  []string
}

// Over has the answers of a client looked at from now on.
func (w *Watch) Over(c *Client) { c.HTTP.Transport = watched{watch: w, next: c.HTTP.Transport} }

// Leaving is how often a gateway said that it is leaving: 503 with
// Retry-After, which is documented and no fault.
func (w *Watch) Leaving() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leaving
}

// Faults are the other answers, with their paths.
func (w *Watch) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults
}

func (w *Watch) look(request *http.Request, response *http.Response) {
	if response.StatusCode < w.From {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "" {
		w.leaving++
	} else {
		w.faults = append(w.faults, request.URL.Path+": "+response.Status)
	}
}

// watched is a transport under a watch.
type watched struct {
	watch *Watch
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t watched) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err == nil {
		t.watch.look(request, response)
	}
	return response, err
}

// CloseIdleConnections is called by http.Client's.
func (t watched) CloseIdleConnections() {
	if closer, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
