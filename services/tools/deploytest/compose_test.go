package deploytest

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// compose reads docker-compose.yml as `docker compose config` does: against the schema, with every variable, anchor and dependency
// resolved.
func compose(t *testing.T, env ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "../docker-compose.yml")}, cli.WithEnv(env), cli.WithResolvedPaths(true))
	require.NoError(t, err)
	return options.LoadProject(t.Context())
}

var roles = []string{"accounts", "contacts", "agent", "channel", "gateway"}

func TestComposeFile(t *testing.T) {
	project, err := compose(t)
	require.NoError(t, err)
	binary := build(t)
	known := binary.settings(t)
	for _, role := range roles {
		service := project.Services[role]
		require.Equal(t, types.ShellCommand{"serve", role}, service.Command)
		require.Equal(t, "service_completed_successfully", service.DependsOn["migrate"].Condition)
		require.NotNil(t, service.HealthCheck)
	}
	for name, service := range project.Services {
		if service.Build == nil {
			require.Regexp(t, `:[v0-9]`, service.Image, "%s: a version, not what is newest today", name)
			continue
		}
		require.FileExists(t, filepath.Join(service.Build.Context, service.Build.Dockerfile))
		require.True(t, service.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, service.CapDrop, name)
		var environment []string
		for variable, value := range service.Environment {
			require.Contains(t, known, variable, name)
			environment = append(environment, variable+"="+*value)
		}
		binary.run(t, environment, "config")
		requireCommand(t, binary, environment, service.Command)
		if service.HealthCheck != nil {
			require.Equal(t, []string{"CMD", "/prosa"}, []string(service.HealthCheck.Test[:2]), name)
			requireCommand(t, binary, environment, service.HealthCheck.Test[2:])
		}
	}
	for _, service := range project.Services {
		for _, port := range service.Ports {
			require.Equal(t, "127.0.0.1", port.HostIP, "%s is not for the whole network", service.Name)
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				require.FileExists(t, existing(volume.Source), service.Name)
			}
		}
	}

	given, err := compose(t, "PROSA_ROOT_KEY=mine", "POSTGRES_PASSWORD=secret")
	require.NoError(t, err)
	require.Equal(t, "mine", *given.Services["gateway"].Environment["PROSA_ROOT_KEY"])
	require.Contains(t, *given.Services["migrate"].Environment["PROSA_DATABASE_URL"], ":secret@")
	require.Equal(t, "secret", *given.Services["postgres"].Environment["POSTGRES_PASSWORD"])
}

// existing is the path itself, or a file in it if it is a folder.
func existing(path string) string {
	if strings.Contains(filepath.Base(path), ".") {
		return path
	}
	files, _ := filepath.Glob(filepath.Join(path, "*"))
	nested, _ := filepath.Glob(filepath.Join(path, "*", "*"))
	files = slices.DeleteFunc(append(files, nested...), func(f string) bool { return !strings.Contains(filepath.Base(f), ".") })
	if len(files) == 0 {
		return path + "/nothing"
	}
	return files[0]
}

// requireCommand checks that a command is one of the program's, and that its help names each flag and argument.
func requireCommand(t *testing.T, binary program, environment, command []string) {
	t.Helper()
	require.NotEmpty(t, command)
	help := binary.run(t, environment, command[0], "--help")
	for _, word := range command[1:] {
		if name, _, isFlag := strings.Cut(word, "="); isFlag || strings.HasPrefix(word, "--") {
			require.Regexp(t, regexp.QuoteMeta(name)+`\b`, help)
		} else {
			require.Regexp(t, `\b`+regexp.QuoteMeta(word)+`\b`, help)
		}
	}
}

// TestComposeDemo checks what the demonstration says about the other services.
func TestComposeDemo(t *testing.T) {
	for network, env := range map[string][]string{"172.16.213": nil, "10.9.8": {"RECEIVER_NETWORK=10.9.8"}} {
		project, err := compose(t, env...)
		require.NoError(t, err)
		demo, gateway, channel := project.Services["demo"], project.Services["gateway"], project.Services["channel"]
		require.Equal(t, "service_healthy", demo.DependsOn["gateway"].Condition)
		require.NotNil(t, demo.HealthCheck)
		flags := map[string]*url.URL{}
		for _, word := range demo.Command[1:] {
			name, value, _ := strings.Cut(word, "=")
			flags[name], err = url.Parse(strings.TrimPrefix("//"+value, "//http:"))
			require.NoError(t, err)
		}

		require.Equal(t, "gateway:8080", flags["--gateway-url"].Host)
		require.Len(t, gateway.Ports, 1)
		require.Equal(t, gateway.Ports[0].HostIP+":"+gateway.Ports[0].Published, flags["--public-url"].Host)
		require.EqualValues(t, 8080, gateway.Ports[0].Target)
		require.Equal(t, *gateway.Environment["PROSA_ROOT_KEY"], *demo.Environment["PROSA_ROOT_KEY"])

		// Channel reaches the receiver, over a network of their own, and no other private address.
		receiver := demo.Networks["receiver"]
		require.Contains(t, receiver.Aliases, flags["--receiver-url"].Hostname())
		require.Equal(t, flags["--receiver-addr"].Port(), flags["--receiver-url"].Port())
		require.Contains(t, channel.Networks, "receiver")
		require.Equal(t, network+".10", receiver.Ipv4Address)
		require.Equal(t, receiver.Ipv4Address, *channel.Environment["PROSA_EGRESS_ALLOW"])
		require.Equal(t, "true", *channel.Environment["PROSA_EGRESS_HTTP"])
		pool := project.Networks["receiver"].Ipam.Config[0]
		address := netip.MustParseAddr(receiver.Ipv4Address)
		require.True(t, netip.MustParsePrefix(pool.Subnet).Contains(address))
		require.False(t, netip.MustParsePrefix(pool.IPRange).Contains(address), "nobody else is given it")
		for name, service := range project.Services {
			if _, reaches := service.Networks["receiver"]; reaches {
				require.Contains(t, []string{"demo", "channel"}, name)
			}
		}
	}
}
