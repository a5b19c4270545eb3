// Package exportertest holds what the tests below exporter share: a provider with a gateway behind
// it, gateways that show what a test wants, a resolver, and a log that can be read while it is
// written.
package exportertest

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// Main runs the tests of a package in network namespaces, many side by side because they mostly
// wait.
func Main(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	netlab.Main(m)
}

// A Lab is a provider with a gateway behind it.
type Lab struct {
	*netlab.Provider
	// Gateway answers IKE; nil where a test starts a daemon in its place.
	Gateway *responder.Responder
}

// New makes a Lab whose gateway is a Responder.
func New(tb testing.TB) *Lab {
	tb.Helper()
	netlab.Need(tb)
	l := &Lab{Provider: netlab.NewProvider(tb)}
	l.Server.Do(tb, func() {
		var err error
		if l.Gateway, err = responder.Start(tb.Context(), responder.Config{}); err != nil {
			tb.Fatal(err)
		}
	})
	return l
}

// Address is the address of the gateway as it is configured.
func (l *Lab) Address(v6 bool) string { return l.ServerAddr(v6).String() }

// Instruments opens sockets in the client's place, which are closed at the end of the test.
func (l *Lab) Instruments(tb testing.TB, cfg *config.Config, log *slog.Logger, unprivileged bool) (i *subject.Instruments) {
	tb.Helper()
	l.Client.Do(tb, func() {
		var err error
		i, err = subject.OpenInstruments(netio.Config{Limits: subject.Limits(cfg), Log: log, Unprivileged: unprivileged})
		if err != nil {
			tb.Fatal(err)
		}
	})
	tb.Cleanup(i.Close)
	return i
}

// ConfigFile writes a configuration and returns the path of its file.
func ConfigFile(tb testing.TB, text string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// lookEvery is the time between looks at a condition. Most look at a whole page of metrics: more often,
// tests beside each other would take the processor from what they wait for.
const lookEvery = 200 * time.Millisecond

// Eventually waits until a condition holds and returns how long that took.
func Eventually(tb testing.TB, limit time.Duration, what string, holds func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	for tick := time.NewTicker(lookEvery); !holds(); <-tick.C {
		if time.Since(began) > limit {
			tb.Fatalf("%s: not within %v", what, limit)
		}
	}
	return time.Since(began)
}
