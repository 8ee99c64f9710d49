//go:build race

package channel_test

// raceDetector is true under -race, where times say nothing.
const raceDetector = true
