package day_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/day"
)

func TestParseSecond(t *testing.T) {
	for text, want := range map[string]string{
		"2020-12-04 14:53:11":  "2020-12-04 14:53:11",
		"2020-12-04T14:53:11":  "2020-12-04 14:53:11",
		"2020-6-1 5:3:9":       "2020-06-01 05:03:09",
		"2020-02-29 23:59:59":  "2020-02-29 23:59:59",
		"0001-01-01 00:00:00":  "0001-01-01 00:00:00",
		"9999-12-31 23:59:59":  "9999-12-31 23:59:59",
		"2021-02-29 00:00:00":  "",
		"2020-12-04":           "",
		"2020-12-04 ":          "",
		"2020-12-04 14:53":     "",
		"2020-12-04 24:00:00":  "",
		"2020-12-04 14:60:00":  "",
		"2020-12-04 14:53:60":  "",
		"2020-13-04 14:53:00":  "",
		"2020-12-04 14:53:11Z": "",
		"4/12/2020 14:53:11":   "",
		"tomorrow":             "",
		"":                     "",
	} {
		got, err := day.ParseSecond(text)
		if want == "" {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, got.String(), text)
	}
}

func TestSecondIsAMomentInAPlace(t *testing.T) {
	place := func(name string) *time.Location {
		loaded, err := time.LoadLocation(name)
		require.NoError(t, err)
		return loaded
	}
	for name, test := range map[string]struct{ place, text, start, end string }{
		"UTC":                    {"UTC", "2026-03-01 12:00:00", "2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"},
		"west":                   {"America/Sao_Paulo", "2026-03-01 22:00:00", "2026-03-02T01:00:00Z", "2026-03-02T01:00:01Z"},
		"east":                   {"Asia/Kolkata", "2026-03-01 00:00:00", "2026-02-28T18:30:00Z", "2026-02-28T18:30:01Z"},
		"before the gap":         {"Europe/Lisbon", "2026-03-29 00:59:59", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"},
		"in the gap":             {"Europe/Lisbon", "2026-03-29 01:30:00", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		"after the gap":          {"Europe/Lisbon", "2026-03-29 02:00:00", "2026-03-29T01:00:00Z", "2026-03-29T01:00:01Z"},
		"shown twice":            {"Europe/Lisbon", "2026-10-25 01:30:00", "2026-10-25T00:30:00Z", "2026-10-25T01:30:01Z"},
		"after it is put back":   {"Europe/Lisbon", "2026-10-25 02:00:00", "2026-10-25T02:00:00Z", "2026-10-25T02:00:01Z"},
		"midnight that is not":   {"America/Sao_Paulo", "2018-11-04 00:15:00", "2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z"},
		"a day that was skipped": {"Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
	} {
		s, err := day.ParseSecond(test.text)
		require.NoError(t, err, name)
		require.Equal(t, test.start, s.Start(place(test.place)).Format(time.RFC3339), name)
		require.Equal(t, test.end, s.End(place(test.place)).Format(time.RFC3339), name)
	}
	at := time.Date(2026, 3, 1, 1, 2, 3, 999_000_000, time.UTC)
	require.Equal(t, "2026-02-28 22:02:03", day.SecondIn(at, place("America/Sao_Paulo")))
}

func TestSecondsAreOrdered(t *testing.T) {
	first, err := day.ParseSecond("2020-12-04 14:53:11")
	require.NoError(t, err)
	second, err := day.ParseSecond("2020-12-04T14:53:12")
	require.NoError(t, err)
	require.True(t, first.Before(second))
	require.False(t, second.Before(first))
	require.False(t, first.Before(first))
}
