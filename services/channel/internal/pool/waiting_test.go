package pool_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/pool"
)

func TestWhatComesDuringALookIsNotForgottenAtItsEnd(t *testing.T) {
	var w pool.Waiting[string]
	require.False(t, w.Any())
	w.Add("before")
	w.Look()
	w.Add("during")
	require.True(t, w.Has("before"))
	w.Found([]string{"found"})
	require.False(t, w.Has("before"), "the look would have seen it")
	require.True(t, w.Has("during"))
	require.True(t, w.Has("found"))
	seen := map[string]bool{}
	w.Each(func(queue string) { seen[queue] = true })
	require.Equal(t, map[string]bool{"during": true, "found": true}, seen)

	w.Look()
	w.Found([]string{"found"})
	require.False(t, w.Has("during"))
	require.True(t, w.Has("found"))
	w.Look()
	w.Found(nil)
	require.False(t, w.Any())
}

func TestWhatWasFoundAndCameAgainStays(t *testing.T) {
	var w pool.Waiting[string]
	w.Look()
	w.Found([]string{"a"})
	w.Look()
	w.Add("a")
	w.Found(nil)
	require.True(t, w.Has("a"))
}
