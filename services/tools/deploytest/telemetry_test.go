package deploytest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// dashboard is the part of a Grafana dashboard that is checked.
type dashboard struct {
	UID, Title string
	Panels     []struct {
		ID                       int
		Type, Title, Description string
		Datasource               struct{ UID string }
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ Expr, LegendFormat string }
	}
}

// rules is the form of a file of Prometheus' rules: what this one uses of it.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Record, Alert, Expr, For string
			Labels, Annotations      map[string]string
		}
	}
}

func TestRulesAreRules(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "prometheus/rules.yml"))
	require.NoError(t, err)
	var groups rules
	require.NoError(t, yaml.UnmarshalStrict(text, &groups))
	alerts := 0
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			_, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
			require.NoError(t, err, rule.Expr)
			if rule.Alert == "" {
				require.NotEmpty(t, rule.Record)
				continue
			}
			if rule.For != "" {
				_, err := time.ParseDuration(rule.For)
				require.NoError(t, err, rule.Alert)
			}
			alerts++
			require.Contains(t, []string{"page", "ticket"}, rule.Labels["severity"], rule.Alert)
			require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			require.Greater(t, len(rule.Annotations["runbook"]), 40, rule.Alert)
			require.False(t, strings.Contains(rule.Annotations["runbook"], "\n"), "%s: one line", rule.Alert)
		}
	}
	require.Greater(t, alerts, 10)
}

func TestDashboardIsOne(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "grafana/dashboards/prosa.json"))
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies on another", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Description, p.Title)
		require.Equal(t, "prometheus", p.Datasource.UID, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			_, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
			require.NoError(t, err, p.Title)
			// A label that the query does not keep would show as nothing.
			for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				require.True(t, strings.Contains(target.Expr, label[1]) || label[1] == "instance", "%s: %s", p.Title, label[1])
			}
		}
	}
}
