package report

import "github.com/prometheus/common/version"

// Application names this program in files that it writes.
func Application() string { return "ipsec_path_exporter " + version.Version }
