package egress_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain puts a proxy into the environment of all tests, at an address where
// nobody listens: net/http reads the environment only once in a process, so a
// test of its own could come too late.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}
