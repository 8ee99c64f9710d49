package day_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/internal/day"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for _, good := range []string{"2026-03-01", "2024-02-29", "0001-01-01", "9999-12-31"} {
		d, err := day.Parse(good)
		require.NoError(t, err)
		require.Equal(t, good, d.String())
	}
	for _, bad := range []string{"", "2026-02-29", "2026-13-01", "2026-00-01", "2026-1-1", "01/03/2026", "2026-03-01T00", "2026-03-0a", "-001-01-01"} {
		_, err := day.Parse(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("2026-03-01")
	f.Add("0000-00-00")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := day.Parse(text); err == nil {
			require.Equal(t, text, d.String())
		}
	})
}

func TestStart(t *testing.T) {
	for _, test := range []struct{ place, day, want string }{
		{"UTC", "2026-03-01", "2026-03-01T00:00:00Z"},
		{"America/Sao_Paulo", "2026-03-01", "2026-03-01T03:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"}, // no midnight: 23:59:59 is followed by 01:00
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"}, // put back at midnight: the hour from 23:00 comes twice
		{"America/Havana", "2025-11-02", "2025-11-02T04:00:00Z"},    // put back at one: midnight comes twice
		{"America/Havana", "2025-03-09", "2025-03-09T05:00:00Z"},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"}, // left out
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},
		{"Asia/Kathmandu", "2026-03-01", "2026-02-28T18:15:00Z"},
	} {
		place, err := time.LoadLocation(test.place)
		require.NoError(t, err)
		d, err := day.Parse(test.day)
		require.NoError(t, err)
		require.Equal(t, test.want, d.Start(place).UTC().Format(time.RFC3339), "%s in %s", test.day, test.place)
	}
}

// Each moment is on the day between whose start and the next one's it lies, wherever one is.
func TestStartAndInAgree(t *testing.T) {
	places := []string{"UTC", "America/Sao_Paulo", "America/Havana", "Pacific/Apia", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Cairo"}
	rapid.Check(t, func(t *rapid.T) {
		place, err := time.LoadLocation(rapid.SampledFrom(places).Draw(t, "place"))
		require.NoError(t, err)
		moment := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "moment"), 0)
		d := day.In(moment, place)
		require.False(t, moment.Before(d.Start(place)), "before its day")
		require.True(t, moment.Before(d.Next().Start(place)), "after its day")
	})
}
