// Package testkit gives tests what they share: a store on each engine, a private PostgreSQL server, and a TestMain that cleans up
// and looks for forgotten goroutines.
package testkit

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package that uses a store as Run does, and exits. TestMain calls it in place of goleak.VerifyTestMain.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests, ends the PostgreSQL server that they may have started, and fails if a goroutine is left over. It returns the
// exit code, for a TestMain that has more to clean up.
func Run(m *testing.M) int {
	code := m.Run()
	if err := stopServer(); err != nil {
		fmt.Fprintln(os.Stderr, "stop postgres:", err)
		code = max(code, 1)
	}
	// Fuzzing leaves its own goroutines; a failed test leaves those that it was waiting for.
	if code == 0 && !fuzzing() {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left over:", err)
			code = 1
		}
	}
	return code
}

func fuzzing() bool {
	pattern := flag.Lookup("test.fuzz")
	return pattern != nil && pattern.Value.String() != ""
}
