package main

import (
	"fmt"
	"runtime/debug"
)

// version is set at release by the linker; a build from source says so.
var version = "devel"

type versionCommand struct{}

// Run prints version, revision and the Go release that built the binary.
func (versionCommand) Run(s streams) error {
	revision, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	_, err := fmt.Fprintf(s.out, "prosa %s (%s, %s)\n", version, revision, goVersion)
	return err
}
