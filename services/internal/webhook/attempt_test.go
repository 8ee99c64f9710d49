package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/egress"
)

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now().UTC() }

// steppingClock moves by a step whenever it is asked.
type steppingClock struct {
	now  time.Time
	step time.Duration
}

func (c *steppingClock) Now() time.Time {
	defer func() { c.now = c.now.Add(c.step) }()
	return c.now
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

func newClient(t testing.TB, opts egress.Options) *http.Client {
	client := egress.NewGuard(loopback, true).Client(opts)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func receiver(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func request(url string) Request {
	return Request{URL: url, ID: "64a1b2c3d4e5f6a7b8c9d0e1", Body: []byte(`{"a":"Olá"}`), UserAgent: "Prosa/1.2.3", Timeout: 5 * time.Second, Clock: systemClock{}}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAttemptSendsWhatTheContractSays(t *testing.T) {
	newer, older := NewSecret(nil), NewSecret(nil)
	var got *http.Request
	var body []byte
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	})
	start := time.Unix(1_700_000_000, 999_999_999).UTC()
	r := request(server.URL + "/hook?a=b")
	r.Secrets, r.Sequence = []Secret{newer, older}, 18446744073709551615
	r.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.Headers = http.Header{"authorization": {"raw token"}, "Webhook-Id": {"forged"}, "Content-Type": {"text/plain"}}
	r.Clock = &steppingClock{now: start, step: 1500 * time.Millisecond}
	outcome := Attempt(t.Context(), newClient(t, egress.Options{}), r)

	require.Equal(t, Outcome{StatusCode: 200, Answer: []byte(`{"status":"ok"}`), Acknowledged: true, Duration: 1500 * time.Millisecond}, outcome)
	require.Equal(t, http.MethodPost, got.Method)
	require.Equal(t, "/hook?a=b", got.URL.String())
	require.Equal(t, `{"a":"Olá"}`, string(body))
	require.EqualValues(t, len(body), got.ContentLength)
	require.Equal(t, http.Header{
		"Content-Type":      {"application/json"},
		"Content-Length":    {"12"},
		"User-Agent":        {"Prosa/1.2.3"},
		"Authorization":     {"raw token"},
		"Webhook-Id":        {"64a1b2c3d4e5f6a7b8c9d0e1"},
		"Webhook-Timestamp": {"1700000000"},
		"Webhook-Signature": {Sign(r.ID, start, body, newer, older)},
		"Prosa-Sequence":    {"18446744073709551615"},
		"Traceparent":       {r.Traceparent},
	}, got.Header)
	require.NoError(t, Verify(got.Header, body, start, older))
	require.Equal(t, http.Header{"authorization": {"raw token"}, "Webhook-Id": {"forged"}, "Content-Type": {"text/plain"}}, r.Headers, "the caller's headers are left alone")
}

func TestAttemptLeavesOutWhatIsNotAsked(t *testing.T) {
	var got http.Header
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header })
	Attempt(t.Context(), newClient(t, egress.Options{}), request(server.URL))
	require.NotContains(t, got, HeaderSignature)
	require.NotContains(t, got, HeaderSequence)
	require.NotContains(t, got, HeaderTraceparent)
	require.Contains(t, got, HeaderID)
}

func TestAttemptAnswers(t *testing.T) {
	const ok = `{"status":"ok"}`
	full := `{"status":"ok","pad":"` + strings.Repeat("x", MaxAnswer-len(`{"status":"ok","pad":""}`)) + `"}`
	require.Len(t, full, MaxAnswer)
	for name, test := range map[string]struct {
		status  int
		body    string
		header  string
		want    Acknowledgement
		outcome Outcome
		kept    int
	}{
		"ok":                      {200, ok, "", StatusOK, Outcome{Acknowledged: true}, len(ok)},
		"ok ignores Retry-After":  {200, ok, "5", StatusOK, Outcome{Acknowledged: true}, len(ok)},
		"200 with other body":     {200, `{"status":"error"}`, "", StatusOK, Outcome{Err: NotAcknowledged}, 18},
		"200 without body":        {200, "", "", StatusOK, Outcome{Err: NotAcknowledged}, 0},
		"201 with ok":             {201, ok, "", StatusOK, Outcome{Err: Status}, len(ok)},
		"204":                     {204, "", "", StatusOK, Outcome{Err: Status}, 0},
		"any: 200":                {200, "whatever", "", Any2xx, Outcome{Acknowledged: true}, 8},
		"any: 204":                {204, "", "", Any2xx, Outcome{Acknowledged: true}, 0},
		"any: 299":                {299, "", "", Any2xx, Outcome{Acknowledged: true}, 0},
		"any: 300":                {300, "", "", Any2xx, Outcome{Err: Status}, 0},
		"redirect":                {302, "", "", Any2xx, Outcome{Err: Status}, 0},
		"400":                     {400, ok, "", StatusOK, Outcome{Err: Status}, len(ok)},
		"410":                     {410, "", "", StatusOK, Outcome{Err: Status, Gone: true}, 0},
		"429":                     {429, "", "7", StatusOK, Outcome{Err: Status, SlowDown: true, RetryAfter: 7 * time.Second}, 0},
		"500":                     {500, "", "-7", StatusOK, Outcome{Err: Status}, 0},
		"501":                     {501, "", "", StatusOK, Outcome{Err: Status}, 0},
		"502":                     {502, "", "", StatusOK, Outcome{Err: Status, SlowDown: true}, 0},
		"503":                     {503, "", "99999999", StatusOK, Outcome{Err: Status, SlowDown: true, RetryAfter: MaxRetryAfter}, 0},
		"504":                     {504, "", "", StatusOK, Outcome{Err: Status, SlowDown: true}, 0},
		"200 bad, Retry-After":    {200, "busy", "3", StatusOK, Outcome{Err: NotAcknowledged, RetryAfter: 3 * time.Second}, 4},
		"answer at what is kept":  {400, strings.Repeat("x", KeptAnswer), "", StatusOK, Outcome{Err: Status}, KeptAnswer},
		"answer past what's kept": {400, strings.Repeat("x", KeptAnswer+1), "", StatusOK, Outcome{Err: Status}, KeptAnswer},
		"as much as is read":      {200, full, "", StatusOK, Outcome{Acknowledged: true}, KeptAnswer},
		"more than is read":       {200, full + " ", "", StatusOK, Outcome{Err: NotAcknowledged}, KeptAnswer},
		"any: more than is read":  {200, full + " ", "", Any2xx, Outcome{Acknowledged: true}, KeptAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				if test.header != "" {
					w.Header().Set("Retry-After", test.header)
				}
				answer(test.status, test.body)(w, r)
			})
			r := request(server.URL)
			r.Acknowledgement = test.want
			outcome := Attempt(t.Context(), newClient(t, egress.Options{}), r)
			require.Len(t, outcome.Answer, test.kept)
			require.True(t, strings.HasPrefix(test.body, string(outcome.Answer)))
			require.Positive(t, outcome.Duration)
			test.outcome.StatusCode, test.outcome.Answer, test.outcome.Duration = test.status, outcome.Answer, outcome.Duration
			require.Equal(t, test.outcome, outcome)
		})
	}
}

func TestAttemptEndsAtItsDeadlineWhateverTheReceiverDoes(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"never answers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a byte at a time": func(w http.ResponseWriter, r *http.Request) {
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			for {
				select {
				case <-r.Context().Done():
					return
				case <-ticker.C:
					_, _ = w.Write([]byte(" "))
					_ = http.NewResponseController(w).Flush()
				}
			}
		},
		"acknowledges but never ends": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"status":"ok"}`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the server notices the end of the connection
				handler(w, r)
			})
			r := request(server.URL)
			r.Timeout = 150 * time.Millisecond
			outcome := Attempt(t.Context(), newClient(t, egress.Options{}), r)
			require.Equal(t, Timeout, outcome.Err)
			require.False(t, outcome.Acknowledged)
			require.GreaterOrEqual(t, outcome.Duration, r.Timeout)
			require.Less(t, outcome.Duration, 3*time.Second)
		})
	}
}

func TestAttemptAnyStatusNeedsNoEndOfTheBody(t *testing.T) {
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	r := request(server.URL)
	r.Timeout, r.Acknowledgement = 150*time.Millisecond, Any2xx
	outcome := Attempt(t.Context(), newClient(t, egress.Options{}), r)
	require.True(t, outcome.Acknowledged)
	require.Equal(t, None, outcome.Err)
	require.Less(t, outcome.Duration, 3*time.Second)
}

func TestAttemptStopsReadingAnEndlessAnswer(t *testing.T) {
	const promised = 10 << 30
	written := make(chan int64, 1)
	server := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10737418240")
		var total int64
		chunk := bytes.Repeat([]byte(" "), 32<<10)
		for total < promised {
			n, err := w.Write(chunk)
			total += int64(n)
			if err != nil {
				break
			}
		}
		written <- total
	})
	outcome := Attempt(t.Context(), newClient(t, egress.Options{}), request(server.URL))
	require.Equal(t, NotAcknowledged, outcome.Err)
	require.Less(t, outcome.Duration, 3*time.Second)
	require.Less(t, <-written, int64(64<<20), "the connection is closed on the rest")
}

func TestAttemptIsCanceledByItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	require.Equal(t, Canceled, Attempt(ctx, newClient(t, egress.Options{}), request(server.URL)).Err)

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hanging := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	require.Equal(t, Timeout, Attempt(ctx, newClient(t, egress.Options{}), request(hanging.URL)).Err)
}

// raw answers every connection with text once it has read a request, and closes it.
func raw(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { require.NoError(t, listener.Close()); all.Wait() })
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	})
	return "http://" + listener.Addr().String()
}

func TestAttemptNamesFailures(t *testing.T) {
	secure := httptest.NewUnstartedServer(answer(200, `{"status":"ok"}`))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	old := httptest.NewUnstartedServer(answer(200, `{"status":"ok"}`))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	t.Cleanup(old.Close)
	plain := receiver(t, answer(200, `{"status":"ok"}`))
	closedListener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "http://" + closedListener.Addr().String()
	require.NoError(t, closedListener.Close())
	noNames := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no name server") }}

	for name, test := range map[string]struct {
		url  string
		want Class
	}{
		"unknown certificate": {secure.URL, TLS},
		"old TLS":             {old.URL, TLS},
		"plain answer to TLS": {strings.Replace(plain.URL, "http:", "https:", 1), TLS},
		"nobody listens":      {nobody, Connect},
		"no such name":        {"http://name.invalid/", DNS},
		"inner address":       {"http://127.0.0.3:1/", RefusedTarget},
		"metadata":            {"http://169.254.169.254/", RefusedTarget},
		"scheme":              {"ftp://127.0.0.1/", RefusedTarget},
		"user info":           {"http://u:p@127.0.0.1/", RefusedTarget},
		"no URL":              {"http://a b/", BadRequest},
		"reset after reading": {raw(t, ""), Reset},
		"cut in the header":   {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"), Reset},
		"cut in the body":     {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":\"ok\"}"), Reset},
		"no HTTP":             {raw(t, "220 mail.example ESMTP\r\n"), Protocol},
		"endless header":      {raw(t, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("x", 100<<10)+"\r\n\r\n"), Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			outcome := Attempt(t.Context(), newClient(t, egress.Options{Resolver: noNames}), request(test.url))
			require.Equal(t, test.want, outcome.Err)
			require.False(t, outcome.Acknowledged)
			require.Zero(t, outcome.RetryAfter)
		})
	}
}

func TestAttemptRefusesHeadersThatCannotBeSent(t *testing.T) {
	var calls atomic.Int64
	server := receiver(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	client := newClient(t, egress.Options{})
	for _, change := range []func(*Request){
		func(r *Request) { r.ID = "a\r\nX: y" },
		func(r *Request) { r.UserAgent = "a\nb" },
		func(r *Request) { r.Traceparent = "a\nb" },
		func(r *Request) { r.Headers = http.Header{"Authorization": {"a\x00"}} },
		func(r *Request) { r.Headers = http.Header{"Authorization": {"a\x7f"}} },
	} {
		r := request(server.URL)
		change(&r)
		require.Equal(t, BadRequest, Attempt(t.Context(), client, r).Err)
	}
	require.Zero(t, calls.Load())
}

func TestAttemptsShareOneConnectionAndRepeatTheBody(t *testing.T) {
	var connections atomic.Int64
	var bodies []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		w.WriteHeader(500)
		_, _ = io.WriteString(w, strings.Repeat("x", MaxAnswer))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client, r := newClient(t, egress.Options{}), request(server.URL)
	for range 5 {
		require.Equal(t, Status, Attempt(t.Context(), client, r).Err)
	}
	require.EqualValues(t, 1, connections.Load())
	require.Equal(t, []string{`{"a":"Olá"}`, `{"a":"Olá"}`, `{"a":"Olá"}`, `{"a":"Olá"}`, `{"a":"Olá"}`}, bodies)
}

// TestAnswersDoNotMix is what sharing buffers could break.
func TestAnswersDoNotMix(t *testing.T) {
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat(r.URL.Path, 20))
	})
	client := newClient(t, egress.Options{})
	var all sync.WaitGroup
	for worker := range 8 {
		path := "/" + strings.Repeat(string(rune('a'+worker)), worker+1)
		all.Go(func() {
			var outcomes []Outcome
			for range 30 {
				outcomes = append(outcomes, Attempt(t.Context(), client, request(server.URL+path+strings.Repeat("-", len(outcomes)))))
			}
			for i, outcome := range outcomes {
				if string(outcome.Answer) != strings.Repeat(path+strings.Repeat("-", i), 20) {
					t.Errorf("answer of %s is another's", path)
				}
			}
		})
	}
	all.Wait()
}

// answering is a transport that answers at once, to measure what Attempt
// itself costs.
type answering struct{}

func (answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"status":"ok"}`))}, nil
}

func TestAttemptAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("allocations cannot be counted under the race detector")
	}
	r := request("https://example.com/hook")
	r.Secrets, r.Sequence, r.Body = []Secret{NewSecret(nil)}, 7, bytes.Repeat([]byte("x"), 500)
	client := &http.Client{Transport: answering{}}
	allocations := testing.AllocsPerRun(200, func() { Attempt(context.Background(), client, r) })
	require.LessOrEqual(t, allocations, 26.0)
}

func BenchmarkAttempt(b *testing.B) {
	server := receiver(b, answer(200, `{"status":"ok"}`))
	client := newClient(b, egress.Options{})
	r := request(server.URL)
	r.Secrets, r.Sequence, r.Body = []Secret{NewSecret(nil)}, 7, bytes.Repeat([]byte("x"), 500)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if outcome := Attempt(context.Background(), client, r); !outcome.Acknowledged {
				b.Error(outcome.Err)
			}
		}
	})
}
