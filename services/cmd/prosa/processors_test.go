package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEmbeddedStoresHaveThreadsToSpare(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "")
	useProcessors(false)
	require.Equal(t, before, runtime.GOMAXPROCS(0), "the writers are elsewhere")
	useProcessors(true)
	require.Equal(t, before+spareThreads, runtime.GOMAXPROCS(0))
	t.Setenv("GOMAXPROCS", "3")
	useProcessors(true)
	require.Equal(t, before+spareThreads, runtime.GOMAXPROCS(0), "it was decided already")
}
