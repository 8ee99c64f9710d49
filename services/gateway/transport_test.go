package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
)

// failing is a connection whose calls all fail.
type failing struct{ err error }

func (f failing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return f.err }

func (f failing) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, f.err
}

// one request of each surface, and the form of its failures.
var everySurface = map[string]struct {
	path    string // of a resource that takes POST
	failure func(status int, path string) string
	unknown string // the body of a path that is not there
}{
	"API Channel":   {path: "/webhooks/api", failure: func(int, string) string { return `^\{"status":"error","message":"[^"]+\."(,"invalidParams":\[\])?\}$` }},
	"contacts":      {path: "/contacts/acme", failure: func(int, string) string { return `^\{"message":"[^"]+"(,"invalidParams":\[.*\])?\}$` }},
	"events":        {path: "/events/acme", failure: func(int, string) string { return `^\{"message":"[^"]+"(,"invalidParams":\[.*\])?\}$` }},
	"management":    {path: "/v1/instances/acme/channels", failure: problemPattern},
	"conversations": {path: "/conversation/survey/64a1b2c3d4e5f6a7b8c9d0e1", failure: problemPattern},
}

func problemPattern(status int, path string) string {
	return fmt.Sprintf(`^\{"type":"https://httpproblems.com/http-status/%d","title":"%s","status":%d,"detail":"[^"]+","instance":"%s".*,"requestId":"[^"]+"\}$`,
		status, http.StatusText(status), status, path)
}

func TestLimitsOnEverySurface(t *testing.T) {
	h := newHarness(t, Config{})
	key := []string{"Authorization: Bearer " + rootKey, "X-Api-Key: " + rootKey}
	for name, s := range everySurface {
		t.Run(name, func(t *testing.T) {
			check := func(got answer, status int, path string) {
				t.Helper()
				require.Equal(t, status, got.status, got.body)
				require.Regexp(t, s.failure(status, path), got.body)
				require.NotEmpty(t, got.header.Get("X-Request-Id"))
			}
			// Body by length: the limit is read (and is no JSON), one past it is not.
			check(h.do(t, "POST", s.path, strings.Repeat(" ", MaxBody), key...), 400, s.path)
			check(h.do(t, "POST", s.path, strings.Repeat(" ", MaxBody+1), key...), 413, s.path)
			// Body in chunks.
			chunked := func(size int) answer {
				request, err := http.NewRequest("POST", "http://"+h.address+s.path, io.MultiReader(strings.NewReader(strings.Repeat(" ", size))))
				require.NoError(t, err)
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("Authorization", "Bearer "+rootKey)
				return h.send(t, request)
			}
			check(chunked(MaxBody), 400, s.path)
			check(chunked(MaxBody+1), 413, s.path)
			// URL.
			long := s.path + "?" + strings.Repeat("a", MaxURL-len(s.path)-1)
			require.NotEqual(t, 414, h.do(t, "POST", long, "{", key...).status)
			check(h.do(t, "POST", long+"a", "{", key...), 414, s.path)
			// Header fields: what net/http adds by itself is under 200 bytes.
			require.Equal(t, 400, h.do(t, "POST", s.path, "{", append(key, "X-Filler: "+strings.Repeat("a", MaxHeader-500))...).status)
			check(h.do(t, "POST", s.path, "{", append(key, "X-Filler: "+strings.Repeat("a", MaxHeader-14))...), 431, s.path)
			// Content type.
			for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/problem+json", "nonsense;;"} {
				check(h.do(t, "POST", s.path, "{}", append(key, "Content-Type: "+contentType)...), 415, s.path)
			}
			check(h.do(t, "POST", s.path, "{}", append(key, "Content-Type: ")...), 415, s.path)
			check(h.do(t, "POST", s.path, "{}", append(key, "Content-Encoding: gzip")...), 415, s.path)
			for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", `application/json; charset="utf-8"`} {
				require.Equal(t, 400, h.do(t, "POST", s.path, "{", append(key, "Content-Type: "+contentType)...).status)
			}
			// Methods that the resource does not have.
			for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"} {
				got := h.do(t, method, s.path, "", key...)
				require.Equal(t, 405, got.status, method)
				if method != "HEAD" {
					check(got, 405, s.path)
				}
				if name == "management" {
					require.Equal(t, "GET, POST", got.header.Get("Allow"))
				} else {
					require.Equal(t, "POST", got.header.Get("Allow"))
				}
			}
		})
	}
	_, _, calls := h.fakes.seen()
	require.Zero(t, calls)
}

func TestHeaderTooLargeForTheServer(t *testing.T) {
	h := newHarness(t, Config{})
	got := h.post(t, goodMessage, "X-Filler: "+strings.Repeat("a", MaxHeader+5<<10))
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, got.status)
}

func TestUnknownPaths(t *testing.T) {
	problem := func(path string) string {
		return fmt.Sprintf(`{"type":"https://httpproblems.com/http-status/404","title":"Not Found","status":404,"detail":"There is nothing at this path","instance":%q,"requestId":"r1"}`, path)
	}
	tests := map[string]string{
		"/webhooks":                       `{"status":"error","message":"Not found."}`,
		"/webhooks/":                      `{"status":"error","message":"Not found."}`,
		"/webhooks/api/":                  `{"status":"error","message":"Not found."}`,
		"/webhooks/api/x":                 `{"status":"error","message":"Not found."}`,
		"/webhooks/../v1/instances":       `{"status":"error","message":"Not found."}`,
		"/webhooks%2Fapi":                 problem("/webhooks%2Fapi"),
		"//webhooks/api":                  problem("//webhooks/api"),
		"/contacts":                       `{"contacts":[],"resultCount":0}`,
		"/contacts/":                      `{"contacts":[],"resultCount":0}`,
		"/contacts/acme/more":             `{"contacts":[],"resultCount":0}`,
		"/events":                         `{"events":[],"resultCount":0}`,
		"/events/acme/more":               `{"events":[],"resultCount":0}`,
		"/acme/api":                       `{"code":404,"message":"Client not found."}`,
		"/acme/api/":                      `{"code":404,"message":"Client not found."}`,
		"/acme/api/a/b":                   `{"code":404,"message":"Client not found."}`,
		"/v1/api/x":                       problem("/v1/api/x"),
		"/console/api/x":                  problem("/console/api/x"),
		"/v1":                             problem("/v1"),
		"/v1/instances/":                  problem("/v1/instances/"),
		"/v1/instances//channels":         problem("/v1/instances//channels"),
		"/v1/instances/acme%2Fchannels/x": problem("/v1/instances/acme%2Fchannels/x"),
		"/conversation/":                  problem("/conversation/"),
		"/conversation/survey/x/y":        problem("/conversation/survey/x/y"),
		"/":                               problem("/"),
		"/favicon.ico":                    problem("/favicon.ico"),
		"/docs/":                          problem("/docs/"),
	}
	h := newHarness(t, Config{})
	for path, body := range tests {
		t.Run(path, func(t *testing.T) {
			got := h.do(t, "POST", path, "{}", "X-Request-Id: r1", "Authorization: Bearer "+rootKey)
			require.Equal(t, 404, got.status)
			require.Equal(t, body, got.body)
			want := "application/json"
			if strings.Contains(body, "httpproblems") {
				want = "application/problem+json"
			}
			require.Equal(t, want, got.header.Get("Content-Type"))
		})
	}
}

func TestAnEncodedSlashIsPartOfTheName(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.getChannel = func(_ context.Context, r *channelv1.GetChannelRequest) (*channelv1.GetChannelResponse, error) {
		return &channelv1.GetChannelResponse{Channel: &channelv1.Channel{DisplayName: r.GetInstance() + " " + r.GetId()}}, nil
	}
	got := h.do(t, "GET", "/v1/instances/ac%2Fme/channels/%61%2f%2e%2e", "", "Authorization: Bearer "+rootKey)
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, `"displayName":"ac/me a/.."`)
}

func TestWhatReachesTheServices(t *testing.T) {
	h := newHarness(t, Config{})
	got := h.post(t, goodMessage,
		"Authorization: Bearer token", "X-Api-Key: key", "X-Request-Id: call-1", "Idempotency-Key: once",
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate: a=b",
		"Grpc-Metadata-X-Api-Key: other", "Grpc-Metadata-Authorization: Bearer other", "Grpc-Metadata-Foo: bar", "Grpc-Metadata-Foo-Bin: !!",
		"X-HTTP-Method-Override: DELETE", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil", "Cookie: a=b", "Te: trailers",
		"Accept: text/html", "User-Agent: curl")
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, "call-1", got.header.Get("X-Request-Id"))
	md, _, _ := h.fakes.seen()
	require.Equal(t, map[string][]string{
		"authorization": {"Bearer token"}, "x-api-key": {"key"}, "x-request-id": {"call-1"}, "idempotency-key": {"once"},
		"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "tracestate": {"a=b"},
		"x-forwarded-for": {"127.0.0.1"}, // the caller's address as the gateway sees it
	}, map[string][]string(md))
}

func TestRequestIDThatIsNotHarmless(t *testing.T) {
	h := newHarness(t, Config{})
	for _, given := range []string{"a b", strings.Repeat("a", 65)} {
		got := h.post(t, goodMessage, "X-Request-Id: "+given)
		require.Regexp(t, "^[0-9a-f]{24}$", got.header.Get("X-Request-Id"))
	}
	require.Equal(t, strings.Repeat("a", 64), h.post(t, goodMessage, "X-Request-Id: "+strings.Repeat("a", 64)).header.Get("X-Request-Id"))
}

func TestTimeoutOf(t *testing.T) {
	for asked, want := range map[string]time.Duration{
		"99999H": 30 * time.Second, "99999999H": 30 * time.Second, "999999999S": 30 * time.Second, "1S": time.Second, "30S": 30 * time.Second,
		"31S": 30 * time.Second, "250m": 250 * time.Millisecond, "5u": 5 * time.Microsecond, "7n": 7, "0S": 30 * time.Second, "-1S": 30 * time.Second,
		"S": 30 * time.Second, "": 30 * time.Second, "1s": 30 * time.Second, "1M": 30 * time.Second, "soon": 30 * time.Second, "1.5S": 30 * time.Second,
	} {
		require.Equal(t, want, timeoutOf(http.Header{"Grpc-Timeout": {asked}}, 30*time.Second), asked)
	}
	require.Equal(t, 30*time.Second, timeoutOf(http.Header{"Grpc-Timeout": {"1S", "2S"}}, 30*time.Second))
	require.Equal(t, 30*time.Second, timeoutOf(http.Header{}, 30*time.Second))
}

func TestDeadline(t *testing.T) {
	h := newHarness(t, Config{Timeout: 20 * time.Millisecond})
	h.fakes.receive = func(ctx context.Context, _ *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, asked := range []string{"99999H", "nonsense", "1m"} {
		got := h.post(t, goodMessage, "Grpc-Timeout: "+asked)
		require.Equal(t, 504, got.status)
		require.Equal(t, `{"status":"error","message":"The message was not taken in time, try again."}`, got.body)
	}
}

func TestNoCallerCutsTheAcceptingOfAMessageShort(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.receive = func(ctx context.Context, _ *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
		deadline, bounded := ctx.Deadline()
		require.True(t, bounded)
		require.Greater(t, time.Until(deadline), DefaultTimeout/2)
		return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"}, nil
	}
	require.Equal(t, 200, h.post(t, goodMessage, "Grpc-Timeout: 1m").status)
}

func TestPanicInAHandler(t *testing.T) {
	h := newHarness(t, Config{}, func(d *Deps) { d.Channel = panicking{} })
	got := h.post(t, goodMessage)
	require.Equal(t, 500, got.status)
	require.Equal(t, `{"status":"error","message":"Unexpected error."}`, got.body)
	require.Contains(t, h.log.String(), "boom")
	require.Contains(t, h.log.String(), got.header.Get("X-Request-Id"))
	require.Equal(t, 200, h.do(t, "GET", "/livez", "").status)
}

type panicking struct{ failing }

func (panicking) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { panic("boom") }

func TestRefusing(t *testing.T) {
	h := newHarness(t, Config{})
	require.Equal(t, 200, h.do(t, "GET", "/readyz", "").status)
	h.gateway.Drain()
	require.Equal(t, 503, h.do(t, "GET", "/readyz", "").status)
	require.Equal(t, 200, h.post(t, goodMessage).status)
	h.gateway.Refuse()
	h.gateway.Refuse()
	for path, body := range map[string]string{
		"/webhooks/api":  `{"status":"error","message":"The message cannot be taken now, try again later."}`,
		"/contacts/acme": `{"message":"Service unavailable"}`,
		"/events/acme":   `{"message":"Service unavailable"}`,
		"/acme/api/x":    `{"code":503,"message":"Unavailable."}`,
		"/v1/instances": `{"type":"https://httpproblems.com/http-status/503","title":"Service Unavailable","status":503,` +
			`"detail":"The service cannot take the call now, try again later","instance":"/v1/instances","reason":"UNAVAILABLE","requestId":"r"}`,
	} {
		got := h.do(t, "POST", path, "{}", "X-Request-Id: r")
		require.Equal(t, 503, got.status)
		require.Equal(t, body, got.body)
		require.Equal(t, "1", got.header.Get("Retry-After"))
	}
	require.Equal(t, 200, h.do(t, "GET", "/livez", "").status)
}

func TestACallerThatGoesAwayIsCountedNotLogged(t *testing.T) {
	h := newHarness(t, Config{})
	entered := make(chan struct{})
	h.fakes.receive = func(ctx context.Context, _ *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	connection, err := net.Dial("tcp", h.address)
	require.NoError(t, err)
	_, err = fmt.Fprintf(connection, "POST /webhooks/api HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(goodMessage), goodMessage)
	require.NoError(t, err)
	<-entered
	require.NoError(t, connection.Close())
	require.Eventually(t, func() bool { return h.counted(t, "api_channel", "499") == 1 }, 5*time.Second, time.Millisecond)
	require.Empty(t, h.log.String())
}

func TestACallerThatClosedItsSideIsNotToldThatAllIsWell(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.receive = func(ctx context.Context, _ *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	connection, err := net.Dial("tcp", h.address)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprintf(connection, "POST /webhooks/api HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(goodMessage), goodMessage)
	require.NoError(t, err)
	require.NoError(t, connection.(*net.TCPConn).CloseWrite())
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 503, response.StatusCode)
}

func TestABodyThatIsCut(t *testing.T) {
	h := newHarness(t, Config{})
	connection, err := net.Dial("tcp", h.address)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprint(connection, "POST /webhooks/api HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, 400, response.StatusCode)
	require.Equal(t, `{"status":"error","message":"The body did not arrive whole.","invalidParams":[]}`, string(body))
}

// counted is the value of prosa_http_requests_total.
func (h *harness) counted(t testing.TB, surface, status string) float64 {
	t.Helper()
	families, err := h.metrics.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != "prosa_http_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); labels[0].GetValue() == status && labels[1].GetValue() == surface {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestMetrics(t *testing.T) {
	h := newHarness(t, Config{})
	h.post(t, goodMessage)
	h.post(t, `{}`)
	h.do(t, "GET", "/nothing", "")
	// An answer is counted once it is sent, so the caller may be ahead.
	for surface, status := range map[string]string{"api_channel": "400", "other": "404"} {
		require.Eventually(t, func() bool { return h.counted(t, surface, status) == 1 }, 5*time.Second, time.Millisecond)
	}
	require.Equal(t, 1.0, h.counted(t, "api_channel", "200"))
}
