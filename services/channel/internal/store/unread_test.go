package store

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnreadHandsOutWhatFollowsWithoutAGap(t *testing.T) {
	total := 0
	var u unread[string]
	add := func(numbers ...int64) {
		for _, n := range numbers {
			u.add(n, strconv.FormatInt(n, 10), 1, &total)
		}
	}
	require.Empty(t, u.behind(0, &total))
	add(5, 6, 7)
	require.Equal(t, 3, total)
	require.Empty(t, u.behind(3, &total), "the next is 4")
	require.Equal(t, []string{"6", "7"}, u.behind(5, &total))
	require.Empty(t, u.behind(5, &total), "they are handed out once")
	require.Zero(t, total)

	add(8, 10)
	require.Equal(t, []string{"8"}, u.behind(7, &total), "9 is missing, so 10 is not kept")
	add(8)
	require.Empty(t, u.behind(9, &total), "it is done")
	require.Zero(t, total)
}

func TestUnreadIsBounded(t *testing.T) {
	total := 0
	var u unread[int]
	for n := range int64(ReadAhead + 1) {
		u.add(n, 0, 0, &total)
	}
	require.Equal(t, ReadAhead, total)
	require.Len(t, u.behind(-1, &total), ReadAhead)

	u.add(1, 0, unreadBytes+1, &total)
	require.Zero(t, total, "it is too long")
	u.add(1, 0, unreadBytes, &total)
	require.Equal(t, 1, total)

	var other unread[int]
	total = maxUnread
	other.add(1, 0, 0, &total)
	require.Empty(t, other.behind(0, &total), "there are too many")
	total--
	other.add(1, 0, 0, &total)
	require.Len(t, other.behind(0, &total), 1)
	require.Equal(t, maxUnread-1, total)
}
