package quota_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/quota"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loaded, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loaded
}

func TestDayOf(t *testing.T) {
	for name, test := range map[string]struct {
		zone, now, date, end string
	}{
		"UTC":                            {"UTC", "2026-03-01T12:00:00.5Z", "2026-03-01", "2026-03-02T00:00:00Z"},
		"midnight is of the new day":     {"UTC", "2026-03-01T00:00:00Z", "2026-03-01", "2026-03-02T00:00:00Z"},
		"a nanosecond before":            {"UTC", "2026-03-01T23:59:59.999999999Z", "2026-03-01", "2026-03-02T00:00:00Z"},
		"behind":                         {"America/Sao_Paulo", "2026-03-01T02:59:59Z", "2026-02-28", "2026-03-01T03:00:00Z"},
		"ahead":                          {"Pacific/Kiritimati", "2026-03-01T10:00:00Z", "2026-03-02", "2026-03-02T10:00:00Z"},
		"minutes":                        {"Asia/Kathmandu", "2026-03-01T18:14:59Z", "2026-03-01", "2026-03-01T18:15:00Z"},
		"23 hours":                       {"America/New_York", "2026-03-08T05:00:00Z", "2026-03-08", "2026-03-09T04:00:00Z"},
		"25 hours":                       {"America/New_York", "2026-11-01T04:00:00Z", "2026-11-01", "2026-11-02T05:00:00Z"},
		"no midnight":                    {"America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03", "2018-11-04T03:00:00Z"},
		"begins at one":                  {"America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-04", "2018-11-05T02:00:00Z"},
		"two evenings":                   {"America/Sao_Paulo", "2019-02-17T01:30:00Z", "2019-02-16", "2019-02-17T03:00:00Z"},
		"a day that there was not":       {"Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-29", "2011-12-30T10:00:00Z"},
		"after a day that there was not": {"Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31", "2011-12-31T10:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339Nano, test.now)
			require.NoError(t, err)
			day := quota.DayOf(now, zone(t, test.zone))
			require.Equal(t, test.date, day.Date())
			require.Equal(t, test.end, day.End.Format(time.RFC3339Nano))
		})
	}
	require.Equal(t, int64(20_513), quota.DayOf(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.UTC).Number)
}

// TestADayEndsWhereTheNextDateBegins looks at every minute around days on which clocks are changed.
func TestADayEndsWhereTheNextDateBegins(t *testing.T) {
	for name, around := range map[string][]string{
		"America/Sao_Paulo": {"2018-11-04", "2019-02-17"},
		"America/New_York":  {"2026-03-08", "2026-11-01"},
		"America/St_Johns":  {"2010-03-14", "2010-11-07"}, // changed a minute after midnight
		"America/Havana":    {"2026-03-08", "2026-11-01"},
		"Pacific/Apia":      {"2011-12-30"},
		"Asia/Beirut":       {"2026-03-29", "2026-10-25"},
	} {
		location := zone(t, name)
		for _, date := range around {
			middle, err := time.Parse(time.DateOnly, date)
			require.NoError(t, err)
			for now := middle.Add(-30 * time.Hour); now.Before(middle.Add(30 * time.Hour)); now = now.Add(13 * time.Minute) {
				today, end := now.In(location).Format(time.DateOnly), now
				for end.In(location).Format(time.DateOnly) <= today {
					end = end.Add(time.Minute)
				}
				day := quota.DayOf(now, location)
				require.Equal(t, today, day.Date())
				require.True(t, end.Equal(day.End), "%s in %s ends %s, not %s", now, name, end, day.End)
			}
		}
	}
}

func TestZones(t *testing.T) {
	var zones quota.Zones
	require.Equal(t, "Asia/Kathmandu", zones.LoadOrUTC("Asia/Kathmandu").String())
	require.Same(t, zones.LoadOrUTC("Asia/Kathmandu"), zones.LoadOrUTC("Asia/Kathmandu"))
	require.Equal(t, time.UTC, zones.LoadOrUTC("Mars/Olympus"))
}
