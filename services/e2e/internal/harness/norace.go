//go:build !race

package harness

// buildFlags are those of the binary under test.
var buildFlags []string
