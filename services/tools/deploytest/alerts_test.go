package deploytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// alarm says when an alert must be and when it must not: series of a value a minute, as in Prometheus' own tests of rules.
type alarm struct{ fires, quiet []string }

// calls are 100 calls a minute, of which so many in a thousand fail.
func calls(failing int) []string {
	return []string{
		fmt.Sprintf(`prosa_http_requests_total{surface="bot_api",status="200"} 0+%dx400`, 1000-failing),
		fmt.Sprintf(`prosa_http_requests_total{surface="bot_api",status="503"} 0+%dx400`, failing),
		`prosa_http_requests_total{surface="bot_api",status="404"} 0+0x400`,
	}
}

// slow is a histogram of which half of what it counts takes longer than the bucket le, and all less than above.
func slow(name, label, le, above string) []string {
	return []string{
		fmt.Sprintf(`%s_bucket{%s,le="%s"} 0+50x60`, name, label, le),
		fmt.Sprintf(`%s_bucket{%s,le="%s"} 0+100x60`, name, label, above),
		fmt.Sprintf(`%s_bucket{%s,le="+Inf"} 0+100x60`, name, label),
	}
}

var alarms = map[string]alarm{
	"ProsaErrorBudgetBurnsFast":   {fires: calls(15), quiet: calls(14)},
	"ProsaErrorBudgetBurnsSlowly": {fires: calls(4), quiet: calls(3)},
	"ProsaAcceptsSlowly": {
		fires: slow("prosa_http_seconds", `surface="api_channel"`, "1", "2.5"),
		quiet: append(slow("prosa_http_seconds", `surface="api_channel"`, "0.5", "1"), slow("prosa_http_seconds", `surface="contacts"`, "1", "2.5")...),
	},
	"ProsaTurnsCallsAway": {
		fires: []string{`prosa_http_shed_total{surface="api_channel"} 0+4x20`, `prosa_rpc_shed_total{kind="messages"} 0+3x20`},
		quiet: []string{`prosa_http_shed_total{surface="api_channel"} 0+3x20`, `prosa_rpc_shed_total{kind="messages"} 0+2x20`},
	},
	"ProsaMessagesWait": {fires: []string{`prosa_channel_oldest_message_seconds 61x10`}, quiet: []string{`prosa_channel_oldest_message_seconds 60x10`}},
	"ProsaMessagesSetAside": {
		fires: []string{`prosa_channel_turns_total{outcome="set_aside"} 0x10 1x4`},
		quiet: []string{`prosa_channel_turns_total{outcome="set_aside"} 0 1x30`, `prosa_channel_turns_total{outcome="answered"} 0+9x30`},
	},
	"ProsaDeliveriesWait": {
		fires: []string{`prosa_channel_oldest_delivery_seconds 3601x20`},
		quiet: []string{`prosa_channel_oldest_delivery_seconds 3600x20`, `prosa_channel_oldest_delivery_seconds{instance="b"} 3700x8 0x11`},
	},
	"ProsaDeliveriesDie": {
		fires: []string{`prosa_channel_deliveries_total{state="dead"} 5x10 6x20`},
		quiet: []string{`prosa_channel_deliveries_total{state="dead"} 0 5x70`, `prosa_channel_deliveries_total{state="cancelled"} 0+5x70`},
	},
	"ProsaReceiversDoNotAnswer": {fires: []string{`prosa_channel_endpoints_tripped 1x40`}, quiet: []string{`prosa_channel_endpoints_tripped 1x20 0 1x20`}},
	"ProsaConversationsParked":  {fires: []string{`prosa_channel_lanes_parked 1x10`}, quiet: []string{`prosa_channel_lanes_parked 0x10`}},
	"ProsaHistoryLags":          {fires: []string{`prosa_agent_oldest_record_seconds 301x10`}, quiet: []string{`prosa_agent_oldest_record_seconds 300x10`}},
	"ProsaHistoryRefused": {
		fires: []string{`prosa_agent_records_total{outcome="refused"} 0x10 1x4`},
		quiet: []string{`prosa_agent_records_total{outcome="postponed"} 0+4x20`, `prosa_agent_records_total{outcome="refused"} 1x20`},
	},
	"ProsaSearchLags": {
		fires: []string{`prosa_agent_oldest_unindexed_seconds 601x10`}, quiet: []string{`prosa_agent_oldest_unindexed_seconds 600x10`},
	},
	"ProsaLimitsAlone": {
		fires: []string{`prosa_quota_alone{instance="a"} 0x10`, `prosa_quota_alone{instance="b"} 1x10`}, quiet: []string{`prosa_quota_alone 0x10`},
	},
	"ProsaDown": {fires: []string{`up{job="prosa"} 0x3`}, quiet: []string{`up{job="prosa"} 1x3`, `up{job="other"} 0x3`}},
	"ProsaStoreWritesSlowly": {
		fires: slow("prosa_store_write_seconds", `store="agent"`, "0.5", "1"), quiet: slow("prosa_store_write_seconds", `store="agent"`, "0.25", "0.5"),
	},
}

// TestAlertsFireWhenTheyMust evaluates every alert as Prometheus does: it fires when its expression has had a result for as long as it
// says.
func TestAlertsFireWhenTheyMust(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "prometheus/rules.yml"))
	require.NoError(t, err)
	var groups rules
	require.NoError(t, yaml.UnmarshalStrict(text, &groups))
	recorded := strings.NewReplacer(recordings(groups)...)
	alerts := map[string]bool{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			alerts[rule.Alert] = true
			held := time.Duration(0)
			if rule.For != "" {
				held, err = time.ParseDuration(rule.For)
				require.NoError(t, err)
			}
			expr, when := recorded.Replace(rule.Expr), alarms[rule.Alert]
			require.NotEmpty(t, when, "%s: when does it fire, when not?", rule.Alert)
			require.True(t, firing(t, expr, held, when.fires), rule.Alert)
			require.False(t, firing(t, expr, held, when.quiet), "%s: although nothing is wrong", rule.Alert)
		}
	}
	for name := range alarms {
		require.True(t, alerts[name], "%s: there is no such alert", name)
	}
}

// recordings are the names of the recording rules, each with its expression.
func recordings(groups rules) (pairs []string) {
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Record != "" {
				pairs = append(pairs, rule.Record, "("+rule.Expr+")")
			}
		}
	}
	return pairs
}

// firing says whether an expression has had a result, of the same labels, each minute for so long at the end of the series.
func firing(t *testing.T, expr string, held time.Duration, series []string) bool {
	t.Helper()
	stored, end := parse(t, series)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer func() { require.NoError(t, engine.Close()) }()
	query, err := engine.NewRangeQuery(t.Context(), stored, nil, expr, end.Add(-held), end, time.Minute)
	require.NoError(t, err)
	defer query.Close()
	result := query.Exec(t.Context())
	require.NoError(t, result.Err)
	found, err := result.Matrix()
	require.NoError(t, err)
	for _, one := range found {
		if len(one.Floats) == int(held/time.Minute)+1 {
			return true
		}
	}
	return false
}

// parse reads series, which begin together and have a value a minute, and says when the longest ends.
func parse(t *testing.T, described []string) (stored storage.Queryable, end time.Time) {
	t.Helper()
	var all []storage.Series
	for _, text := range described {
		name, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(text)
		require.NoError(t, err, text)
		s := promql.Series{Metric: name}
		for minute, value := range values {
			at := time.UnixMilli(0).Add(time.Duration(minute) * time.Minute)
			s.Floats = append(s.Floats, promql.FPoint{T: at.UnixMilli(), F: value.Value})
			if at.After(end) {
				end = at
			}
		}
		all = append(all, promql.NewStorageSeries(s))
	}
	return storage.QueryableFunc(func(int64, int64) (storage.Querier, error) {
		return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			found := &seriesSet{at: -1}
			for _, s := range all {
				if matches(s.Labels(), matchers) {
					found.series = append(found.series, s)
				}
			}
			return found
		}}, nil
	}), end
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// seriesSet implements storage.SeriesSet.
type seriesSet struct {
	series []storage.Series
	at     int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
