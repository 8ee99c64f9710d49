//go:build race

package webhook

// raceDetector is true under -race, where sync.Pool forgets things on purpose
// and allocations cannot be counted.
const raceDetector = true
