// Package config is every setting of a running Prosa, with its name, default
// and meaning, and the ways in which it can be given: a flag, an environment
// variable, a file.
package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Settings are what a process of Prosa can be told. The struct tags are the
// only place where names, defaults and meanings stand: the command line, the
// environment (PROSA_ and the flag's name), the configuration file and the
// output of `prosa config` are all made from them. A field tagged `secret` is
// masked wherever settings are shown.
type Settings struct {
	DataDir     string `default:"./data" help:"Folder of the embedded stores and of the keys made at first start."`
	DatabaseURL string `name:"database-url" secret:"" help:"PostgreSQL for all stores, one schema a service (postgres://…). Default: embedded SQLite."`
	ErasureLog  string `help:"File that keeps which persons were erased, for the channel role: it belongs to no backup, and keeps them erased when an older backup is put back. Default: erasures.log in the data folder with the embedded store, none with PostgreSQL."`
	RedisURL    string `name:"redis-url" secret:"" help:"Redis that counts the calls of keys for all processes (redis://…, rediss://…, unix://…); the same in every process. Default: they are counted in PostgreSQL, or in the one process of the embedded store."`

	HTTPAddr       string   `name:"http-addr" default:"127.0.0.1:8080" help:"Address of the REST gateway."`
	GRPCAddr       string   `name:"grpc-addr" default:"127.0.0.1:9090" help:"Address of the gRPC services of this process."`
	TrustedProxies []string `help:"CIDR ranges of the proxies before the gateway, separated by commas: what they say in X-Forwarded-For is the caller's address."`
	MetricsAddr    string   `default:"127.0.0.1:9464" help:"Address of /metrics, /livez and /readyz."`
	Pprof          bool     `help:"Serve profiles under /debug/pprof on the metrics address."`

	AccountsTarget string `help:"gRPC target of the accounts role when it runs elsewhere (dns:///…)."`
	ChannelTarget  string `help:"gRPC target of the channel role when it runs elsewhere."`
	ContactsTarget string `help:"gRPC target of the contacts role when it runs elsewhere."`
	AgentTarget    string `help:"gRPC target of the agent role when it runs elsewhere."`

	TLSCert          string `name:"tls-cert" help:"Certificate file for mutual TLS between roles."`
	TLSKey           string `name:"tls-key" help:"Key file for mutual TLS between roles."`
	TLSCA            string `name:"tls-ca" help:"File of the authorities whose certificates other roles must show."`
	InsecureInternal bool   `help:"Let roles in several processes talk without TLS and trust whoever reaches the gRPC address."`

	RootKey   string `secret:"" help:"Key that may do everything, 32 or more characters. Default: made at first start, printed once, kept in root.key."`
	SecretKey string `secret:"" help:"Key that encrypts stored secrets, 32 or more characters. Default: made at first start, kept in secret.key; required with PostgreSQL."`

	EgressAllow   []string         `help:"CIDR ranges that webhooks and agents may reach although private, separated by commas."`
	EgressHTTP    bool             `name:"egress-http" help:"Allow plain http targets."`
	RetrySchedule webhook.Schedule `default:"5s,30s,2m,10m,30m,1h,3h,6h,12h,24h" help:"Waits between the attempts of a delivery, separated by commas; each is varied by 20 %."`
	InboundRate   int              `default:"1000" help:"Messages a second that one channel takes in each process; 0 is no limit."`
	InboundBurst  int              `default:"2000" help:"Messages that one channel takes at once after a pause."`
	RefusedRate   int              `default:"10" help:"Messages a second to channels that there are not, or with wrong tokens, that are looked at for each caller's address; 0 is no limit."`
	RefusedBurst  int              `default:"50" help:"How many of those are looked at at once after a pause."`
	// What a key may do. Every process has the same limits.
	ContactsRate      int `default:"10" help:"Queries of contacts and events in any span of a second, for each API key over all processes; 0 is no limit."`
	ContactsDaily     int `default:"50000" help:"Queries of contacts and events on a calendar day of the instance, for each API key over all processes; 0 is no limit."`
	ConversationsRate int `default:"20" help:"Calls of the conversation API in any span of a second, for each API key over all processes; 0 is no limit."`

	Turns         bool          `default:"true" negatable:"" help:"Answer accepted messages. Switched off, messages are accepted and wait."`
	AnswerTimeout time.Duration `default:"30s" help:"How long a call of the Bot API waits for the agent where the integration has the version V1, from 1s to 4m. The turn goes on after it."`
	ChatTimeout   time.Duration `default:"60s" help:"How long a call of the conversation API waits for a whole answer, from 1s to 4m. The turn goes on after it."`

	DrainDelay time.Duration `default:"0s" help:"How long a stopping process says that it is not ready, and still serves, so that balancers can turn away; at most 20s."`

	OTLPEndpoint string  `name:"otlp-endpoint" help:"OTLP gRPC endpoint (host:port) for traces and metrics. Default: none are sent."`
	TraceRatio   float64 `default:"1" help:"Part of the traces that is kept, from 0 to 1; the same in every process."`
	LogLevel     string  `default:"info" enum:"debug,info,warn,error" help:"What is logged: debug, info, warn or error."`
	LogFormat    string  `default:"auto" enum:"auto,text,json" help:"Form of the log: text, json, or auto (text on a terminal, else json)."`
}

// minKeyLength is the shortest root or secret key that is taken, in
// characters.
const minKeyLength = 32

// unsendable says that a header field cannot hold a character.
func unsendable(r rune) bool { return r < ' ' || r > '~' }

// maxRate is the highest rate that can be counted, in calls a second.
const maxRate = 1_000_000

// maxAnswerTimeout leaves the gateway time to store the message before, within
// the longest time that any call may take.
const maxAnswerTimeout = 4 * time.Minute

// maxDrainDelay leaves a stop the time to finish what is in flight.
const maxDrainDelay = 20 * time.Second

// Validate says everything that is wrong with the settings, all at once.
func (s *Settings) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}

	if s.DataDir == "" {
		fault("data-dir: must not be empty")
	}
	for _, listens := range []struct{ name, addr string }{
		{"http-addr", s.HTTPAddr}, {"grpc-addr", s.GRPCAddr}, {"metrics-addr", s.MetricsAddr},
	} {
		if err := CheckAddr(listens.addr); err != nil {
			fault("%s: %w", listens.name, err)
		}
	}
	if s.RootKey != "" {
		if err := CheckRootKey(s.RootKey); err != nil {
			faults = append(faults, err)
		}
	}
	if s.SecretKey != "" && utf8.RuneCountInString(s.SecretKey) < minKeyLength {
		fault("secret-key: must have %d or more characters", minKeyLength)
	}
	if s.DatabaseURL != "" {
		// The cause is left out because it would repeat the URL's password.
		u, err := url.Parse(s.DatabaseURL)
		if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
			fault("database-url: must be postgres://…")
		}
		if s.SecretKey == "" {
			fault("secret-key: is required with database-url, and must be the same in every process")
		}
	}
	if s.RedisURL != "" {
		u, err := url.Parse(s.RedisURL)
		if err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
			fault("redis-url: must be redis://…, rediss://… or unix://…")
		}
	}
	for _, limit := range []struct {
		name      string
		set, most int
	}{
		{"contacts-rate", s.ContactsRate, quota.MaxPerSecond},
		{"contacts-daily", s.ContactsDaily, quota.MaxPerDay},
		{"conversations-rate", s.ConversationsRate, quota.MaxPerSecond},
	} {
		if limit.set < 0 || limit.set > limit.most {
			fault("%s: must be from 0 to %d", limit.name, limit.most)
		}
	}
	if _, err := s.EgressPrefixes(); err != nil {
		faults = append(faults, err)
	}
	if _, err := s.ProxyPrefixes(); err != nil {
		faults = append(faults, err)
	}
	for _, limit := range []struct {
		name        string
		rate, burst int
	}{{"inbound", s.InboundRate, s.InboundBurst}, {"refused", s.RefusedRate, s.RefusedBurst}} {
		if limit.rate < 0 || limit.rate > maxRate {
			fault("%s-rate: must be from 0 to %d", limit.name, maxRate)
		}
		if limit.rate != 0 && (limit.burst < 1 || limit.burst > maxRate) {
			fault("%s-burst: must be from 1 to %d", limit.name, maxRate)
		}
	}
	if s.AnswerTimeout != 0 && (s.AnswerTimeout < time.Second || s.AnswerTimeout > maxAnswerTimeout) { // 0: the default
		fault("answer-timeout: must be from 1s to %s", maxAnswerTimeout)
	}
	if s.ChatTimeout != 0 && (s.ChatTimeout < time.Second || s.ChatTimeout > maxAnswerTimeout) { // 0: the default
		fault("chat-timeout: must be from 1s to %s", maxAnswerTimeout)
	}
	if s.DrainDelay < 0 || s.DrainDelay > maxDrainDelay {
		fault("drain-delay: must be from 0s to %s", maxDrainDelay)
	}
	if s.TraceRatio < 0 || s.TraceRatio > 1 || math.IsNaN(s.TraceRatio) {
		fault("trace-ratio: must be from 0 to 1")
	}
	given := 0
	for _, file := range []string{s.TLSCert, s.TLSKey, s.TLSCA} {
		if file != "" {
			given++
		}
	}
	if given != 0 && given != 3 {
		fault("tls-cert, tls-key, tls-ca: give all three or none")
	}
	if given == 3 && s.InsecureInternal {
		fault("insecure-internal: cannot be given with tls-cert")
	}
	return errors.Join(faults...)
}

// CheckRootKey says what is wrong with a root key.
func CheckRootKey(key string) error {
	var faults []error
	if utf8.RuneCountInString(key) < minKeyLength {
		faults = append(faults, fmt.Errorf("root-key: must have %d or more characters", minKeyLength))
	}
	if strings.HasPrefix(key, apikey.Prefix) {
		faults = append(faults, fmt.Errorf("root-key: must not begin with %s, as the keys of instances do", apikey.Prefix))
	}
	if strings.TrimSpace(key) != key || strings.ContainsFunc(key, unsendable) {
		faults = append(faults, errors.New("root-key: must be printable ASCII without spaces around it, or no header could carry it"))
	}
	return errors.Join(faults...)
}

// CheckAddr says what is wrong with an address to listen on. A port must be
// said: without an address a process would listen anywhere, to anybody.
func CheckAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port, with a port from 0 (any that is free) to 65535")
	}
	return nil
}

// EgressPrefixes are the ranges of EgressAllow. A bare address is a range of
// one.
func (s *Settings) EgressPrefixes() ([]netip.Prefix, error) {
	return parsePrefixes("egress-allow", s.EgressAllow)
}

// ProxyPrefixes are the ranges of TrustedProxies. A bare address is a range of
// one.
func (s *Settings) ProxyPrefixes() ([]netip.Prefix, error) {
	return parsePrefixes("trusted-proxies", s.TrustedProxies)
}

func parsePrefixes(setting string, texts []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if addr, err := netip.ParseAddr(text); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a CIDR range", setting, text)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// Target is the gRPC target of a role that runs elsewhere, empty when it was
// not given.
func (s *Settings) Target(role string) string {
	switch role {
	case "accounts":
		return s.AccountsTarget
	case "channel":
		return s.ChannelTarget
	case "contacts":
		return s.ContactsTarget
	case "agent":
		return s.AgentTarget
	default:
		return ""
	}
}
