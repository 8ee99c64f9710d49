package config_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse reads settings as the command line does, with a configuration file.
func parse(t *testing.T, file string, args ...string) config.Settings {
	t.Helper()
	var settings config.Settings
	options := []kong.Option{kong.DefaultEnvars(config.EnvPrefix)}
	if file != "" {
		resolver, err := config.YAML(strings.NewReader(file))
		require.NoError(t, err)
		options = append(options, kong.Resolvers(resolver))
	}
	parser, err := kong.New(&settings, options...)
	require.NoError(t, err)
	_, err = parser.Parse(args)
	require.NoError(t, err)
	return settings
}

func TestDefaultsArePinned(t *testing.T) {
	settings := parse(t, "")
	var shown strings.Builder
	require.NoError(t, settings.Print(&shown))
	require.Equal(t, `data-dir: "./data"
database-url: ""
erasure-log: ""
redis-url: ""
http-addr: "127.0.0.1:8080"
grpc-addr: "127.0.0.1:9090"
trusted-proxies: ""
metrics-addr: "127.0.0.1:9464"
pprof: false
accounts-target: ""
channel-target: ""
contacts-target: ""
agent-target: ""
tls-cert: ""
tls-key: ""
tls-ca: ""
insecure-internal: false
root-key: ""
secret-key: ""
egress-allow: ""
egress-http: false
retry-schedule: "5s,30s,2m0s,10m0s,30m0s,1h0m0s,3h0m0s,6h0m0s,12h0m0s,24h0m0s"
inbound-rate: "1000"
inbound-burst: "2000"
refused-rate: "10"
refused-burst: "50"
contacts-rate: "10"
contacts-daily: "50000"
conversations-rate: "20"
turns: true
answer-timeout: "30s"
chat-timeout: "1m0s"
drain-delay: "0s"
otlp-endpoint: ""
trace-ratio: "1"
log-level: "info"
log-format: "auto"
`, shown.String())
}

func TestFlagWinsOverEnvironmentWinsOverFile(t *testing.T) {
	const file = "http-addr: file:1\ngrpc-addr: file:2\nmetrics-addr: file:3\negress-allow: [10.0.0.0/8, 127.0.0.1]\nretry-schedule: 1s,2s\negress-http: true\n"
	t.Setenv("PROSA_HTTP_ADDR", "env:1")
	t.Setenv("PROSA_GRPC_ADDR", "env:2")
	settings := parse(t, file, "--http-addr=flag:1")
	require.Equal(t, "flag:1", settings.HTTPAddr)
	require.Equal(t, "env:2", settings.GRPCAddr)
	require.Equal(t, "file:3", settings.MetricsAddr)
	require.Equal(t, []string{"10.0.0.0/8", "127.0.0.1"}, settings.EgressAllow)
	require.Equal(t, "1s,2s", settings.RetrySchedule.String())
	require.True(t, settings.EgressHTTP)
}

func TestWhatIsPrintedCanBeReadAgain(t *testing.T) {
	settings := parse(t, "", "--egress-allow=10.0.0.0/8,::1", "--trusted-proxies=10.1.0.0/16", "--no-turns", "--log-level=debug")
	var shown strings.Builder
	require.NoError(t, settings.Print(&shown))
	require.Equal(t, settings, parse(t, shown.String()))
}

func TestUnknownSettingsInAFileAreRefusedByName(t *testing.T) {
	_, err := config.YAML(strings.NewReader("http-adr: x\nlog-level: info\nzzz: 1\n"))
	require.EqualError(t, err, "read configuration: unknown settings: http-adr, zzz")
}

func TestAFileIsOneListOfPlainValues(t *testing.T) {
	const want = "must be a text, a number, true or false, or a list of those"
	for file, reason := range map[string]string{
		"log-level:\n":                              "log-level: " + want,
		"data-dir: {a: b}\n":                        "data-dir: " + want,
		"data-dir: 2026-01-31\n":                    "data-dir: " + want,
		"egress-allow: [10.0.0.0/8, [127.0.0.1]]\n": "egress-allow: " + want,
		"log-level: warn\n---\nlog-level: info\n":   "must be one document",
		"log-level: warn\n---\n":                    "must be one document",
	} {
		_, err := config.YAML(strings.NewReader(file))
		require.EqualError(t, err, "read configuration: "+reason, file)
	}
	for _, file := range []string{"", "---\n", "# nothing\n", "inbound-rate: 7\ntrace-ratio: 0.5\nturns: false\n"} {
		_, err := config.YAML(strings.NewReader(file))
		require.NoError(t, err, file)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	secret := strings.Repeat("s3cret", 8)
	settings := parse(t, "", "--root-key="+secret, "--secret-key="+secret, "--database-url=postgres://u:"+secret+"@h/db", "--redis-url=redis://u:"+secret+"@h")
	var shown strings.Builder
	require.NoError(t, settings.Print(&shown))
	require.NotContains(t, shown.String(), secret)
	require.Contains(t, shown.String(), `root-key: "********"`)
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("k", 32)
	valid := config.Settings{DataDir: ".", HTTPAddr: "127.0.0.1:0", GRPCAddr: "[::1]:65535", MetricsAddr: ":9464", TraceRatio: 1, InboundRate: 1_000_000, InboundBurst: 1_000_000, RefusedRate: 0, RootKey: long, DrainDelay: 20 * time.Second, SecretKey: long, DatabaseURL: "postgres://localhost/prosa",
		RedisURL: "rediss://localhost", ContactsRate: 1000, ContactsDaily: 1_000_000_000, ConversationsRate: 1000, EgressAllow: []string{"10.1.2.3/8", "::1"}}
	require.NoError(t, valid.Validate())

	tests := []struct {
		name     string
		settings config.Settings
		wants    []string
	}{
		{"no data folder", config.Settings{}, []string{"data-dir: must not be empty"}},
		{"no addresses", config.Settings{}, []string{"http-addr: must be host:port", "grpc-addr: must be", "metrics-addr: must be"}},
		{"addresses without a port", config.Settings{HTTPAddr: "127.0.0.1", GRPCAddr: "::1", MetricsAddr: "h:"}, []string{"http-addr", "grpc-addr", "metrics-addr"}},
		{"ports over the limit", config.Settings{HTTPAddr: ":65536", GRPCAddr: ":-1", MetricsAddr: ":http"}, []string{"http-addr", "grpc-addr", "metrics-addr"}},
		{"root key one short", config.Settings{RootKey: long[1:]}, []string{"root-key"}},
		{"root key like an instance's", config.Settings{RootKey: "psk_" + long}, []string{"root-key: must not begin with psk_"}},
		{"root key that no header carries", config.Settings{RootKey: long + "é"}, []string{"root-key: must be printable ASCII"}},
		{"root key with the line's end", config.Settings{RootKey: long + "\n"}, []string{"root-key: must be printable ASCII"}},
		{"keys count characters, not bytes", config.Settings{SecretKey: strings.Repeat("é", 31)}, []string{"secret-key"}},
		{"secret key one short", config.Settings{SecretKey: long[1:]}, []string{"secret-key"}},
		{"not PostgreSQL", config.Settings{DatabaseURL: "mysql://h", SecretKey: long}, []string{"database-url"}},
		{"PostgreSQL without a secret key", config.Settings{DatabaseURL: "postgres://h"}, []string{"secret-key"}},
		{"not Redis", config.Settings{RedisURL: "http://h"}, []string{"redis-url"}},
		{"Redis without a scheme", config.Settings{RedisURL: "localhost:6379"}, []string{"redis-url"}},
		{"negative queries", config.Settings{ContactsRate: -1, ContactsDaily: -1}, []string{"contacts-rate", "contacts-daily"}},
		{"queries over the limit", config.Settings{ContactsRate: 1001, ContactsDaily: 1_000_000_001}, []string{"contacts-rate", "contacts-daily"}},
		{"calls over the limit", config.Settings{ConversationsRate: 1001}, []string{"conversations-rate"}},
		{"bad range of proxies", config.Settings{TrustedProxies: []string{"10.0.0.0/8", "proxy"}}, []string{"trusted-proxies"}},
		{"bad range", config.Settings{EgressAllow: []string{"10.0.0.0/33"}}, []string{"egress-allow"}},
		{"no time for answers", config.Settings{AnswerTimeout: time.Second - 1}, []string{"answer-timeout"}},
		{"answers over the limit", config.Settings{AnswerTimeout: 4*time.Minute + 1}, []string{"answer-timeout"}},
		{"no time for whole answers", config.Settings{ChatTimeout: time.Second - 1}, []string{"chat-timeout"}},
		{"whole answers over the limit", config.Settings{ChatTimeout: 4*time.Minute + 1}, []string{"chat-timeout"}},
		{"drain delay over the limit", config.Settings{DrainDelay: 20*time.Second + 1}, []string{"drain-delay"}},
		{"trace ratio over the limit", config.Settings{TraceRatio: math.Nextafter(1, 2)}, []string{"trace-ratio"}},
		{"trace ratio below the limit", config.Settings{TraceRatio: math.Nextafter(0, -1)}, []string{"trace-ratio"}},
		{"trace ratio that is no number", config.Settings{TraceRatio: math.NaN()}, []string{"trace-ratio"}},
		{"half of TLS", config.Settings{TLSCert: "c"}, []string{"tls-cert"}},
		{"TLS and insecure", config.Settings{TLSCert: "c", TLSKey: "k", TLSCA: "a", InsecureInternal: true}, []string{"insecure-internal"}},
		{"negative rate", config.Settings{InboundRate: -1}, []string{"inbound-rate"}},
		{"rate over the limit", config.Settings{RefusedRate: 1_000_001, RefusedBurst: 1}, []string{"refused-rate"}},
		{"no burst", config.Settings{InboundRate: 1}, []string{"inbound-burst"}},
		{"burst over the limit", config.Settings{RefusedRate: 1, RefusedBurst: 1_000_001}, []string{"refused-burst"}},
		{"all at once", config.Settings{RootKey: "x", SecretKey: "y", TLSCA: "a"}, []string{"root-key", "secret-key", "tls-cert"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.settings.Validate()
			for _, want := range test.wants {
				require.ErrorContains(t, err, want)
			}
		})
	}
}
