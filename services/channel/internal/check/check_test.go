package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/receiver"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

func newChecker(c clock.Clock, guard *egress.Guard, roots *x509.CertPool) *Checker {
	return New(Deps{
		NewClient: func() *http.Client { return guard.Client(egress.Options{RootCAs: roots}) },
		Clock:     c, IDs: id.NewSource(c, nil), UserAgent: "Prosa/test",
	})
}

func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func target(url string, secrets ...webhook.Secret) Target {
	return Target{ID: "c1", URL: url, Secrets: secrets, Timeout: 5 * time.Second}
}

// verdicts are those of a report, by kind.
func verdicts(r *Report) map[Kind]Verdict {
	all := map[Kind]Verdict{}
	for _, result := range r.Results {
		all[result.Kind] = result.Verdict
	}
	return all
}

func find(t *testing.T, r *Report, kind Kind) Result {
	t.Helper()
	for _, result := range r.Results {
		if result.Kind == kind {
			return result
		}
	}
	require.Fail(t, "no result", kind)
	return Result{}
}

// got is a webhook that arrived.
type got struct {
	header http.Header
	body   string
}

// record keeps what arrives and lets next answer it.
func record(next http.Handler) (handler http.Handler, arrived func() []got) {
	var (
		mu  sync.Mutex
		all []got
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			all = append(all, got{r.Header.Clone(), string(body)})
			mu.Unlock()
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			next.ServeHTTP(w, r)
		}), func() []got {
			mu.Lock()
			defer mu.Unlock()
			return all
		}
}

func TestAGoodReceiverPasses(t *testing.T) {
	newer, older := webhook.NewSecret(nil), webhook.NewSecret(nil)
	handler, arrived := record(receiver.New(receiver.Options{Secrets: []webhook.Secret{older}, Clock: clock.System()}))
	server := serve(t, handler)
	checker := newChecker(clock.System(), egress.NewGuard(loopback, true), nil)
	report, err := checker.Run(t.Context(), target(server.URL, newer, older))
	require.NoError(t, err)
	require.Equal(t, map[Kind]Verdict{
		TLS: Warned, Text: Passed, Date: Passed, Buttons: Passed, List: Passed, Media: Passed, Duplicate: Passed, WrongSignature: Passed, OldTimestamp: Passed,
	}, verdicts(report))
	require.Equal(t, Warned, report.Verdict, "plain http is to be mended")
	require.Nil(t, report.TLS)
	require.Equal(t, 401, find(t, report, WrongSignature).Outcome.StatusCode)

	all := arrived()
	require.Len(t, all, 8)
	for i, words := range []string{`"type":"text"`, `"type":"date"`, `"type":"buttons"`, `"type":"list"`, `"type":"media"`, `"type":"text"`} {
		require.Contains(t, all[i].body, words)
		require.Contains(t, all[i].body, `"debug":null`)
		require.Equal(t, "true", all[i].header.Get("Prosa-Check"))
		require.Equal(t, "Prosa/test", all[i].header.Get("User-Agent"))
	}
	require.Equal(t, all[0].header.Get("Webhook-Id"), all[5].header.Get("Webhook-Id"), "the duplicate")
	require.Equal(t, all[0].body, all[5].body)
	require.Len(t, strings.Split(all[0].header.Get("Webhook-Signature"), " "), 2, "signed as deliveries are")
	now := time.Now()
	require.ErrorIs(t, webhook.Verify(all[6].header, []byte(all[6].body), now, newer, older), webhook.ErrSignature)
	require.ErrorIs(t, webhook.Verify(all[7].header, []byte(all[7].body), now, newer, older), webhook.ErrTimestamp)
	require.NoError(t, webhook.Verify(all[7].header, []byte(all[7].body), now.Add(-Age), older), "only the timestamp is wrong")
	var sequences []string
	for _, one := range all {
		sequences = append(sequences, one.header.Get("Prosa-Sequence"))
	}
	require.Equal(t, []string{"1", "2", "3", "4", "5", "1", "6", "7"}, sequences)
}

func TestTestChannelsSeeADebugObject(t *testing.T) {
	handler, arrived := record(receiver.New(receiver.Options{Clock: clock.System()}))
	tried := target(serve(t, handler).URL)
	tried.Test = true
	_, err := newChecker(clock.System(), egress.NewGuard(loopback, true), nil).Run(t.Context(), tried)
	require.NoError(t, err)
	require.Contains(t, arrived()[0].body, `"debug":{"agentVersion":0,`)
}

// answers answers every webhook alike.
func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://example.com/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestWhatIsToBeMendedIsSaid(t *testing.T) {
	secret := webhook.NewSecret(nil)
	for name, test := range map[string]struct {
		handler http.Handler
		any2xx  bool
		want    map[Kind]Verdict
		kind    Kind
		detail  string
	}{
		"verifies nothing": {answers(200, `{"status":"ok"}`), false,
			map[Kind]Verdict{Text: Passed, WrongSignature: Failed, OldTimestamp: Warned}, WrongSignature, "webhook-signature"},
		"any 2xx": {answers(204, ""), true, map[Kind]Verdict{Text: Passed, Duplicate: Passed, WrongSignature: Failed}, OldTimestamp, "5 minutes"},
		"204":     {answers(204, ""), false, map[Kind]Verdict{Text: Failed, Duplicate: Skipped, WrongSignature: Skipped}, Text, "ANY_2XX"},
		"wrong body": {answers(200, `{"status":"OK"}`), false,
			map[Kind]Verdict{Text: Failed, Media: Failed, OldTimestamp: Skipped}, Text, `{"status":"ok"}`},
		"redirect":     {answers(307, ""), false, map[Kind]Verdict{Text: Failed}, Text, "redirects are not followed"},
		"wrong secret": {receiver.New(receiver.Options{Secrets: []webhook.Secret{webhook.NewSecret(nil)}, Clock: clock.System()}), false, map[Kind]Verdict{Text: Failed}, Text, "signing secret"},
		"not found":    {answers(404, ""), false, map[Kind]Verdict{Text: Failed}, Text, "by POST"},
		"gone":         {answers(410, ""), false, map[Kind]Verdict{Text: Failed}, Text, "disables"},
		"too many":     {answers(429, ""), false, map[Kind]Verdict{Text: Failed}, Text, "429: answer 200"},
		"broken":       {answers(500, ""), false, map[Kind]Verdict{Text: Failed, List: Failed}, Text, "its log"},
		"hangs up": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), false,
			map[Kind]Verdict{Text: Failed, Date: Skipped, Duplicate: Skipped, OldTimestamp: Skipped}, Text, "ended before"},
		"refuses duplicates": {deduplicating(), false,
			map[Kind]Verdict{Text: Passed, Media: Passed, Duplicate: Failed, WrongSignature: Failed}, Duplicate, "same webhook-id"},
		"no buttons": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), `"type":"buttons"`) {
				w.WriteHeader(500)
				return
			}
			answers(200, `{"status":"ok"}`)(w, r)
		}), false, map[Kind]Verdict{Text: Passed, Date: Passed, Buttons: Failed, List: Passed, Media: Passed}, Buttons, "500"},
		"breaks instead of refusing": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if webhook.Verify(r.Header, body, time.Now(), secret) != nil {
				w.WriteHeader(500)
				return
			}
			answers(200, `{"status":"ok"}`)(w, r)
		}), false, map[Kind]Verdict{Text: Passed, WrongSignature: Warned, OldTimestamp: Warned}, OldTimestamp, "answer 401"},
		"hangs up instead of refusing": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if webhook.Verify(r.Header, body, time.Now(), secret) != nil {
				panic(http.ErrAbortHandler)
			}
			answers(200, `{"status":"ok"}`)(w, r)
		}), false, map[Kind]Verdict{Text: Passed, WrongSignature: Passed, OldTimestamp: Passed}, OldTimestamp, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tried := target(serve(t, test.handler).URL, secret)
			if test.any2xx {
				tried.Acknowledgement = webhook.Any2xx
			}
			report, err := newChecker(clock.System(), egress.NewGuard(loopback, true), nil).Run(t.Context(), tried)
			require.NoError(t, err)
			require.Len(t, report.Results, 9)
			all := verdicts(report)
			for kind, want := range test.want {
				require.Equal(t, want, all[kind], kind)
			}
			require.Contains(t, find(t, report, test.kind).Detail, test.detail)
			for _, result := range report.Results {
				require.Equal(t, result.Verdict == Passed, result.Detail == "", "who has nothing to mend reads nothing: %v", result)
				if result.Verdict == Failed {
					require.Equal(t, Failed, report.Verdict)
				}
			}
		})
	}
}

// deduplicating takes each webhook-id once.
func deduplicating() http.Handler {
	var seen sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, before := seen.LoadOrStore(r.Header.Get("Webhook-Id"), true); before {
			w.WriteHeader(409)
			return
		}
		answers(200, `{"status":"ok"}`)(w, r)
	})
}

func TestATargetThatMayNotBeCalledSeesNoConnection(t *testing.T) {
	handler, arrived := record(answers(200, `{"status":"ok"}`))
	report, err := newChecker(clock.System(), egress.NewGuard(nil, true), nil).Run(t.Context(), target(serve(t, handler).URL))
	require.NoError(t, err)
	require.Equal(t, webhook.RefusedTarget, find(t, report, Text).Outcome.Err)
	require.Contains(t, find(t, report, Text).Detail, "not on the public internet")
	require.Equal(t, Skipped, find(t, report, Duplicate).Verdict)
	require.Empty(t, arrived())
}

func TestAWebhookThatDoesNotAnswerEndsTheCheck(t *testing.T) {
	release := make(chan struct{})
	handler, arrived := record(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	server := serve(t, handler)
	defer close(release)
	tried := target(server.URL)
	tried.Timeout = 50 * time.Millisecond
	report, err := newChecker(clock.System(), egress.NewGuard(loopback, true), nil).Run(t.Context(), tried)
	require.NoError(t, err)
	require.Contains(t, find(t, report, Text).Detail, "within 50ms")
	for _, kind := range []Kind{Date, Buttons, List, Media, Duplicate, WrongSignature, OldTimestamp} {
		require.Equal(t, Skipped, find(t, report, kind).Verdict)
	}
	require.Len(t, arrived(), 1)
}

// TestTheBudgetEndsTheCheck has every exchange take ten seconds of a clock that
// only the receiver moves.
func TestTheBudgetEndsTheCheck(t *testing.T) {
	manual := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	handler, arrived := record(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		manual.Advance(10 * time.Second)
		answers(200, `{"status":"ok"}`)(w, r)
	}))
	tried := target(serve(t, handler).URL)
	tried.Timeout = 15 * time.Second
	report, err := newChecker(manual, egress.NewGuard(loopback, true), nil).Run(t.Context(), tried)
	require.NoError(t, err)
	require.Len(t, arrived(), 3, "begun at 0, 10 and 20 seconds")
	require.Equal(t, Warned, find(t, report, Text).Verdict)
	require.Contains(t, find(t, report, Text).Detail, "10s, more than half of the 15s")
	require.Equal(t, Skipped, find(t, report, List).Verdict)
	require.Equal(t, outOfTime, find(t, report, OldTimestamp).Detail)
	require.Equal(t, 30*time.Second, report.Duration)
}

func TestOneAtATimeAndFiveAMinute(t *testing.T) {
	manual := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	entered, release := make(chan struct{}, 100), make(chan struct{})
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		answers(200, `{"status":"ok"}`)(w, r)
	}))
	checker := newChecker(manual, egress.NewGuard(loopback, true), nil)
	done := make(chan error, 1)
	go func() {
		_, err := checker.Run(context.WithoutCancel(t.Context()), target(server.URL))
		done <- err
	}()
	<-entered
	_, err := checker.Run(t.Context(), target(server.URL))
	require.ErrorIs(t, err, ErrInProgress)
	close(release)
	require.NoError(t, <-done)

	run := func(endpoint string) error {
		tried := target(server.URL)
		tried.ID = endpoint
		_, err := checker.Run(t.Context(), tried)
		return err
	}
	for range PerMinute - 1 {
		require.NoError(t, run("c1"))
	}
	var limited *LimitedError
	require.ErrorAs(t, run("c1"), &limited)
	require.Equal(t, time.Minute, limited.RetryAfter)
	require.NoError(t, run("c2"), "each endpoint has its own limit")
	manual.Advance(limited.RetryAfter)
	require.NoError(t, run("c1"))
}

func TestTheCallersEndEndsTheCheck(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server sees the caller go
		cancel()
		<-r.Context().Done()
	}))
	checker := newChecker(clock.System(), egress.NewGuard(loopback, true), nil)
	_, err := checker.Run(ctx, target(server.URL))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, checker.running, "it can be checked again")
}

// certified starts a TLS server whose certificate is made by change, and
// returns who issued it.
func certified(t *testing.T, change func(*x509.Certificate), config *tls.Config) (url string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Prosa Test"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(90 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	server := httptest.NewUnstartedServer(answers(200, `{"status":"ok"}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, roots
}

func TestEncryptionIsJudged(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*x509.Certificate)
		config  *tls.Config
		strange bool
		verdict Verdict
		text    Verdict
		detail  string
		version string
	}{
		"good":           {func(*x509.Certificate) {}, nil, false, Passed, Passed, "", "TLS 1.3"},
		"good, TLS 1.2":  {func(*x509.Certificate) {}, &tls.Config{MaxVersion: tls.VersionTLS12}, false, Passed, Passed, "", "TLS 1.2"},
		"ends soon":      {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(soon - time.Minute) }, nil, false, Warned, Passed, "renew", "TLS 1.3"},
		"ends not so":    {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(soon + time.Minute) }, nil, false, Passed, Passed, "", "TLS 1.3"},
		"expired":        {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, nil, false, Failed, Failed, "is valid from", ""},
		"another's name": {func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 9)} }, nil, false, Failed, Failed, "another host", ""},
		"unknown":        {func(*x509.Certificate) {}, nil, true, Failed, Failed, "no authority", ""},
		"for clients only": {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, nil, false, Failed, Failed,
			"not one for servers", ""},
		"old TLS": {func(*x509.Certificate) {}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false, Failed, Failed, "neither TLS 1.2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			url, roots := certified(t, test.change, test.config)
			if test.strange {
				roots = x509.NewCertPool()
			}
			report, err := newChecker(clock.System(), egress.NewGuard(loopback, false), roots).Run(t.Context(), target(url))
			require.NoError(t, err)
			result := find(t, report, TLS)
			require.Equal(t, test.verdict, result.Verdict, result.Detail)
			require.Contains(t, result.Detail, test.detail)
			require.Equal(t, test.text, find(t, report, Text).Verdict)
			require.NotNil(t, report.TLS)
			require.Equal(t, test.version, report.TLS.VersionName())
			if name != "old TLS" {
				require.Equal(t, "CN=Prosa Test", report.TLS.Issuer)
				require.False(t, report.TLS.ExpireTime.IsZero())
			}
		})
	}
}

func TestNamesOfIssuersAreBounded(t *testing.T) {
	require.Equal(t, strings.Repeat("é", 128), printable(strings.Repeat("é", 200)))
	require.Equal(t, "a"+strings.Repeat("é", 127), printable("a"+strings.Repeat("é", 200)))
	require.Equal(t, "ab", printable("a\xffb"))
}
