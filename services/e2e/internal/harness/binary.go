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
// takes the folder away.
func Build(ctx context.Context) (path string, remove func(), err error) {
	folder, err := os.MkdirTemp("", "prosa-e2e-")
	if err != nil {
		return "", nil, fmt.Errorf("make folder: %w", err)
	}
	remove = func() { _ = os.RemoveAll(folder) } // a temporary folder left behind does no harm
	path = filepath.Join(folder, "prosa")
	command := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/prosa-chat/prosa/services/cmd/prosa")
	if output, err := command.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build prosa: %w\n%s", err, output)
	}
	return path, remove, nil
}
