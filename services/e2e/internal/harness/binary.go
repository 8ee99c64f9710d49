// Package harness runs the real binary of Prosa as an operator would, and
// watches it from outside: processes to start, kill and start again, a client
// for the REST surfaces, and a receiver that records every webhook.
package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build makes the binary anew in a temporary folder and gives its path; remove
// takes the folder away. The flags are those of go build.
func Build(ctx context.Context, flags ...string) (path string, remove func(), err error) {
	folder, err := os.MkdirTemp("", "prosa-e2e-")
	if err != nil {
		return "", nil, fmt.Errorf("make folder: %w", err)
	}
	remove = func() { _ = os.RemoveAll(folder) } // a temporary folder left behind does no harm
	path = filepath.Join(folder, "prosa")
	arguments := append(append([]string{"build"}, flags...), "-o", path, "github.com/prosa-chat/prosa/services/cmd/prosa")
	command := exec.CommandContext(ctx, "go", arguments...)
	if output, err := command.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build prosa: %w\n%s", err, output)
	}
	return path, remove, nil
}
