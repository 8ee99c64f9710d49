package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

var (
	selector = regexp.MustCompile(`\b((?:prosa|process|go)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~|=|!=|!~)"([^"]*)"`)
	grouping = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
)

// TestDashboardAndAlertsAskForWhatThereIs compares the metrics, labels and
// values that the dashboard and the alerts name with those that a process has
// once it has done its work.
func TestDashboardAndAlertsAskForWhatThereIs(t *testing.T) {
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir()}})
	sendAndReceive(t, strings.TrimPrefix(prosa.HTTP, "http://"))
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(prosa.Metrics + "/metrics")
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	values := map[string]map[string][]string{} // by metric and label
	for _, line := range regexp.MustCompile(`(?m)^([a-z0-9_]+)(?:\{(.*)\})? `).FindAllStringSubmatch(string(text), -1) {
		if values[line[1]] == nil {
			values[line[1]] = map[string][]string{"job": {"prosa"}, "instance": {""}} // Prometheus adds these
		}
		for _, label := range matcher.FindAllStringSubmatch(line[2], -1) {
			values[line[1]][label[1]] = append(values[line[1]][label[1]], label[3])
		}
	}

	documents := documented(t)
	var unknown []string
	for name := range values {
		name = regexp.MustCompile(`_(?:bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "prosa_") && !strings.Contains(documents, name) {
			unknown = append(unknown, name)
		}
	}
	require.Empty(t, unknown, "no document says what they are")
	asked := expressions(t)
	require.Greater(t, len(asked), 40)
	for _, expression := range asked {
		found := selector.FindAllStringSubmatch(expression, -1)
		require.True(t, len(found) > 0 || strings.Contains(expression, "prosa:") || strings.HasPrefix(expression, "up{"), expression)
		for _, metric := range found {
			labels := values[metric[1]]
			require.NotNil(t, labels, "%s in %s", metric[1], expression)
			for _, label := range matcher.FindAllStringSubmatch(metric[2], -1) {
				require.NotNil(t, labels[label[1]], "%s of %s", label[1], metric[1])
				if label[1] == "status" || label[1] == "code" {
					continue // there were no failures
				}
				wanted := regexp.MustCompile("^(?:" + label[3] + ")$")
				require.True(t, slices.ContainsFunc(labels[label[1]], wanted.MatchString), "%s of %s", label[0], metric[1])
			}
			for _, by := range grouping.FindAllStringSubmatch(expression, -1) {
				for _, label := range strings.Split(by[1], ", ") {
					made := strings.Contains(expression, `label_replace(`) && strings.Contains(expression, `"`+label+`"`)
					require.True(t, made || labels[label] != nil, "%s of %s in %s", label, metric[1], expression)
				}
			}
		}
	}
}

// documented is what the documents for operators say.
func documented(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "services/*/README.md"))
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range append(files, filepath.Join(repository, "deploy/README.md")) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}

// expressions are all queries of the dashboard and the rules.
func expressions(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "deploy/grafana/dashboards/prosa.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	text, err = os.ReadFile(filepath.Join(repository, "deploy/prometheus/rules.yml"))
	require.NoError(t, err)
	var rules struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	require.NoError(t, yaml.Unmarshal(text, &rules))
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			all = append(all, rule.Expr)
		}
	}
	return all
}
