package channel_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestTheTableOfMetricsIsTrue compares what the README says with what the
// service registers: names, kinds, labels and their values.
func TestTheTableOfMetricsIsTrue(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var written []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(prosa_\\w+)` \\| (\\w+) \\| ([^|]*?) ?\\|").FindAllStringSubmatch(string(readme), -1) {
		written = append(written, strings.TrimSpace(row[1]+" "+row[2]+" "+strings.ReplaceAll(row[3], "`", "")))
	}

	r := newRig(t, onSQLite(t))
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	var registered, names []string
	for _, family := range families {
		values := map[string][]string{}
		for _, one := range family.GetMetric() {
			for _, label := range one.GetLabel() {
				values[label.GetName()] = append(values[label.GetName()], label.GetValue())
			}
		}
		line := family.GetName() + " " + strings.ToLower(family.GetType().String())
		for label, all := range values {
			slices.Sort(all)
			line += " " + label + ": " + strings.Join(all, ", ")
		}
		registered, names = append(registered, line), append(names, family.GetName())
	}
	require.ElementsMatch(t, registered, written)
	require.ElementsMatch(t, described(r.metrics), names, "each value of a label is there from the start")
}

// described are the names of all metrics of a registry, those without a value
// included.
func described(registry *prometheus.Registry) (names []string) {
	found := make(chan *prometheus.Desc)
	go func() {
		defer close(found)
		registry.Describe(found)
	}()
	for desc := range found {
		var name string
		_, _ = fmt.Sscanf(desc.String(), "Desc{fqName: %q", &name)
		names = append(names, name)
	}
	return names
}
