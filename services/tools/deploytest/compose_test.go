package deploytest

import (
	"path/filepath"
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
	known := settings(t)
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
		for variable := range service.Environment {
			require.Contains(t, known, variable, name)
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
