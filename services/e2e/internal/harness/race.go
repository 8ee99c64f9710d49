//go:build race

package harness

// buildFlags are those of the binary under test: where the tests look for data
// races, it does so too, and ends with a failure if it found one.
var buildFlags = []string{"-race"}
