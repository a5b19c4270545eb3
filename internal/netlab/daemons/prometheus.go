package daemons

import (
	"path/filepath"
	"strings"

	"ipsec_path_exporter/internal/netlab"
)

// A Monitor is a running Prometheus or Alertmanager.
type Monitor struct{ *daemon }

// NeedPrometheus skips the test if Prometheus or Alertmanager is not installed.
func NeedPrometheus(t netlab.T) {
	t.Helper()
	for _, names := range [][]string{prometheusPrograms(), alertmanagerPrograms()} {
		if _, err := find(names...); err != nil {
			missing(t, err)
		}
	}
}

func prometheusPrograms() []string { return []string{"prometheus", "/usr/bin/prometheus"} }

// alertmanagerPrograms lists Debian's name first.
func alertmanagerPrograms() []string { return []string{"prometheus-alertmanager", "alertmanager"} }

// StartPrometheus runs Prometheus with a configuration, in a folder that may hold its rules, and
// waits until it serves on an address.
func StartPrometheus(t netlab.T, n *netlab.NS, dir, config, listen string) *Monitor {
	t.Helper()
	return monitor(t, n, prometheusPrograms(), "Server is ready to receive web requests", dir, "prometheus",
		"--config.file="+write(t, dir, "prometheus.yml", config), "--web.listen-address="+listen,
		"--storage.tsdb.path="+filepath.Join(dir, "tsdb"))
}

// StartAlertmanager runs Alertmanager with a configuration, and waits until it serves on an
// address.
func StartAlertmanager(t netlab.T, n *netlab.NS, dir, config, listen string) *Monitor {
	t.Helper()
	return monitor(t, n, alertmanagerPrograms(), "Listening", dir, "alertmanager",
		"--config.file="+write(t, dir, "alertmanager.yml", config), "--web.listen-address="+listen,
		"--storage.path="+filepath.Join(dir, "alertmanager"), "--cluster.listen-address=")
}

// monitor runs a program until the test ends, and waits until its log reports that it is ready.
func monitor(t netlab.T, n *netlab.NS, names []string, ready, dir, name string, flags ...string) *Monitor {
	t.Helper()
	path, err := find(names...)
	if err != nil {
		missing(t, err)
	}
	m := &Monitor{start(t, n, program{name: name, args: append([]string{path}, flags...), dir: dir})}
	m.await(t, "being ready", func() bool { return strings.Contains(m.Log(), ready) })
	return m
}
