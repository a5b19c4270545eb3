package main

import (
	"runtime/debug"

	"github.com/prometheus/common/version"
)

// release is the version of a build without -ldflags.
const release = "0.1.0-dev"

// stampVersion sets what -ldflags left empty: the release, and the revision and the time of the
// commit, which `go build` records when it runs in a checkout.
func stampVersion() {
	if version.Version == "" {
		version.Version = release
	}
	if version.Revision == "" {
		version.Revision = version.GetRevision()
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || version.BuildDate != "" {
		return
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			version.BuildDate = s.Value
		}
	}
}
