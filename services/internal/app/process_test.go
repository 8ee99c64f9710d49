package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	testRootKey   = "the-root-key-of-these-tests-0123456789"
	testSecretKey = "the-secret-key-of-these-tests-012345678"
	patience      = 30 * time.Second
)

// journal is a log that may be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// local are settings for one process that serves on free ports.
func local(t *testing.T) config.Settings {
	return config.Settings{
		DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", MetricsAddr: "127.0.0.1:0",
		Turns: true, LogLevel: "debug", LogFormat: "json",
	}
}

// started is a process that runs in this one.
type started struct {
	Running
	log   *journal
	stop  context.CancelFunc
	ended chan error
}

// launch runs a process; ready gives what is known of it once it serves.
func launch(t *testing.T, o Options) (*started, <-chan Running) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &started{log: &journal{}, stop: stop, ended: make(chan error, 1)}
	ready := make(chan Running, 1)
	o.Log, o.Ready = s.log, func(r Running) { ready <- r }
	go func() { s.ended <- Run(ctx, o) }()
	t.Cleanup(stop)
	return s, ready
}

func start(t *testing.T, o Options) *started {
	t.Helper()
	s, ready := launch(t, o)
	select {
	case s.Running = <-ready:
	case err := <-s.ended:
		t.Fatalf("the process ended: %v\n%s", err, s.log)
	case <-time.After(patience):
		t.Fatalf("the process is not ready\n%s", s.log)
	}
	return s
}

// end stops the process and gives what it ended with.
func (s *started) end(t *testing.T) error {
	t.Helper()
	s.stop()
	return s.wait(t)
}

func (s *started) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("the process does not end\n%s", s.log)
		return nil
	}
}

// call makes one HTTP call, on a connection of its own.
func call(t *testing.T, method, url, key, body string) (code int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(read)
}

// readyz waits until the process at the address says what is wanted.
func readyz(t *testing.T, addr string, wants ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, answer := call(t, http.MethodGet, "http://"+addr+"/readyz", "", "")
		for _, want := range wants {
			require.Contains(c, answer, want)
		}
	}, patience, 10*time.Millisecond)
}

// freeAddr is an address to listen on whose port must be known before.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func TestAllRolesStartAndStopTwiceOnTheSameData(t *testing.T) {
	settings := local(t)
	var made []string
	options := Options{Settings: settings, RootKeyMade: func(key string) { made = append(made, key) }}

	first := start(t, options)
	require.Equal(t, []string{first.RootKey}, made)
	require.GreaterOrEqual(t, len(first.RootKey), 32)
	for _, addr := range []string{first.HTTPAddr, first.MetricsAddr} {
		code, answer := call(t, http.MethodGet, "http://"+addr+"/readyz", "", "")
		require.Equal(t, 200, code)
		require.Equal(t, `{"status":"ok"}`, answer)
	}
	code, _ := call(t, http.MethodPost, "http://"+first.HTTPAddr+"/v1/instances", first.RootKey, `{"slug":"loja"}`)
	require.Equal(t, 200, code)
	code, answer := call(t, http.MethodGet, "http://"+first.MetricsAddr+"/metrics", "", "")
	require.Equal(t, 200, code)
	for _, metric := range []string{"prosa_http_requests_total", "prosa_channel_messages_accepted_total", "prosa_accounts_", "prosa_agent_", "prosa_contacts_", "go_goroutines"} {
		require.Contains(t, answer, metric)
	}

	other := settings
	second, _ := launch(t, Options{Settings: other})
	require.ErrorContains(t, second.wait(t), "data directory is in use by another process")
	require.NoError(t, first.end(t))
	code, _ = call(t, http.MethodGet, "http://"+first.HTTPAddr+"/livez", "", "")
	require.Zero(t, code, "nothing listens any more")
	require.NotContains(t, first.log.String(), first.RootKey)

	again := start(t, options)
	require.Equal(t, first.RootKey, again.RootKey)
	require.Len(t, made, 1, "the key is shown once")
	code, answer = call(t, http.MethodGet, "http://"+again.HTTPAddr+"/v1/instances/loja", again.RootKey, "")
	require.Equal(t, 200, code, answer)
	require.NoError(t, again.end(t))

	for _, name := range []string{rootKeyFile, secretKeyFile} {
		info, err := os.Stat(filepath.Join(settings.DataDir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestARootKeyThatCannotWorkEndsTheStart(t *testing.T) {
	settings := local(t)
	require.NoError(t, os.WriteFile(filepath.Join(settings.DataDir, rootKeyFile), []byte("psk_"+testRootKey+"\n"), 0o600))
	s, _ := launch(t, Options{Settings: settings})
	require.ErrorContains(t, s.wait(t), "read root.key: root-key: must not begin with psk_")
}

func TestStrangersMayNotMakeInternalCalls(t *testing.T) {
	s := start(t, Options{Settings: local(t)})
	conn, err := grpcclient.Dial(s.GRPCAddr, grpcclient.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, health.GetStatus())
	_, err = accountsv1.NewIdentityServiceClient(conn).VerifyKey(t.Context(), &accountsv1.VerifyKeyRequest{Key: s.RootKey})
	require.Contains(t, []codes.Code{codes.Unauthenticated, codes.PermissionDenied}, status.Code(err), err)
	_, err = accountsv1.NewAccountsServiceClient(conn).ListInstances(t.Context(), &accountsv1.ListInstancesRequest{})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	require.NoError(t, s.end(t))
}

func TestStopWhileWaitingForAStoreThatIsOutOfReach(t *testing.T) {
	settings := local(t)
	settings.DatabaseURL = "postgres://prosa:s3cret@" + freeAddr(t) + "/prosa?connect_timeout=1"
	settings.SecretKey = testSecretKey
	settings.MetricsAddr = freeAddr(t)
	s, _ := launch(t, Options{Settings: settings})
	readyz(t, settings.MetricsAddr, `"component":"accounts"`, "the store does not answer", "the process is starting")
	code, answer := call(t, http.MethodGet, "http://"+settings.MetricsAddr+"/livez", "", "")
	require.Equal(t, 200, code)
	require.Equal(t, "ok", answer)
	require.NoError(t, s.end(t), "to be stopped is no failure")
	require.NotContains(t, s.log.String(), "s3cret")
}

func TestAnOldSchemaIsWaitedFor(t *testing.T) {
	settings := local(t)
	settings.DatabaseURL = testkit.Postgres(t)
	settings.SecretKey = testSecretKey
	settings.MetricsAddr = freeAddr(t)
	s, ready := launch(t, Options{Settings: settings})
	readyz(t, settings.MetricsAddr, "older than this program", `"remedy":"prosa migrate"`)
	require.NoError(t, Migrate(t.Context(), Options{Settings: settings, Log: &journal{}}))
	select {
	case <-ready:
	case err := <-s.ended:
		t.Fatalf("the process ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the process does not notice that the schema is new")
	}
	require.NoError(t, s.end(t))
	require.NoError(t, Migrate(t.Context(), Options{Settings: settings, Log: &journal{}}), "twice changes nothing")
}

func TestRolesApart(t *testing.T) {
	apart := func() config.Settings {
		settings := local(t)
		settings.RootKey, settings.SecretKey, settings.InsecureInternal = testRootKey, testSecretKey, true
		return settings
	}
	memory := start(t, Options{Settings: apart(), Roles: []string{roleAccounts, roleContacts}})
	require.Empty(t, memory.HTTPAddr)

	settings := apart()
	settings.AccountsTarget, settings.ContactsTarget = memory.GRPCAddr, memory.GRPCAddr
	work := start(t, Options{Settings: settings, Roles: []string{roleAgent, roleChannel}})
	require.Empty(t, work.RootKey)

	settings = apart()
	settings.SecretKey = ""
	settings.AccountsTarget, settings.ContactsTarget = memory.GRPCAddr, memory.GRPCAddr
	settings.AgentTarget, settings.ChannelTarget = work.GRPCAddr, work.GRPCAddr
	front := start(t, Options{Settings: settings, Roles: []string{roleGateway}})
	files, err := os.ReadDir(settings.DataDir)
	require.NoError(t, err)
	require.Empty(t, files, "the gateway keeps nothing")

	readyz(t, front.HTTPAddr, `{"status":"ok"}`)
	base := "http://" + front.HTTPAddr + "/v1/instances"
	code, answer := call(t, http.MethodPost, base, testRootKey, `{"slug":"loja"}`)
	require.Equal(t, 200, code, answer)
	code, answer = call(t, http.MethodPost, base+"/loja/agents", testRootKey,
		`{"definition":{"displayName":"Eco","fallback":"eco","nodes":{"eco":{"say":[{"text":"eco"}]}}}}`)
	require.Equal(t, 200, code, answer)
	var agent struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(answer), &agent))
	require.Len(t, agent.ID, 24)

	require.NoError(t, work.end(t))
	readyz(t, front.HTTPAddr, `"component":"agent","missing":"the role does not answer"`, `"component":"channel"`)
	code, answer = call(t, http.MethodGet, base+"/loja/agents", testRootKey, "")
	require.Equal(t, 503, code)
	require.NotContains(t, answer, "127.0.0.1", "no host is named")
	require.NoError(t, front.end(t))
	require.NoError(t, memory.end(t))
}

func TestAnAddressInUseEndsTheStart(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	for name, take := range map[string]func(*config.Settings){
		"operations": func(s *config.Settings) { s.MetricsAddr = listener.Addr().String() },
		"gRPC":       func(s *config.Settings) { s.GRPCAddr = listener.Addr().String() },
		"gateway":    func(s *config.Settings) { s.HTTPAddr = listener.Addr().String() },
	} {
		settings := local(t)
		take(&settings)
		s, _ := launch(t, Options{Settings: settings})
		require.ErrorContains(t, s.wait(t), "listen for "+name)
		again := local(t)
		again.DataDir = settings.DataDir
		require.NoError(t, start(t, Options{Settings: again}).end(t), "nothing was left locked")
	}
}

func TestTheGatewayIsNotReadyWhileItDrains(t *testing.T) {
	settings := local(t)
	settings.DrainDelay = time.Second
	s := start(t, Options{Settings: settings})
	s.stop()
	readyz(t, s.HTTPAddr, "the process is stopping")
	code, _ := call(t, http.MethodGet, "http://"+s.HTTPAddr+"/v1/instances", s.RootKey, "")
	require.Equal(t, 200, code, "balancers may not have noticed yet")
	require.NoError(t, s.wait(t))
}
