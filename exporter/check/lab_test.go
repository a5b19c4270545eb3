package check

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
)

func TestMain(m *testing.M) { exportertest.Main(m) }

// A lab is a provider with a gateway behind it, which is checked from the client's place.
type lab struct{ *exportertest.Lab }

func newLab(t *testing.T) *lab {
	t.Helper()
	return &lab{exportertest.New(t)}
}

// dead is an address in the gateway's network that no host has.
func (l *lab) dead() string { return l.ServerAddr(false).Next().Next().String() }

// checker is what checks peers from the client's place.
func (l *lab) checker(t *testing.T, cfg *config.Config, unprivileged bool) *checker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	return newChecker(l.Instruments(t, cfg, log, unprivileged), log)
}

// check runs a check of these peers from the client's place.
func (l *lab) check(t *testing.T, output string, unprivileged bool, peers ...string) (report, notes string, err error) {
	t.Helper()
	cfg, err := config.FromArguments(peers)
	if err != nil {
		t.Fatal(err)
	}
	return runReport(t, l.checker(t, cfg, unprivileged), cfg, output)
}

func runReport(t *testing.T, c *checker, cfg *config.Config, output string) (report, notes string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err = c.run(t.Context(), cfg, &Options{Output: output, Timeout: 2 * time.Minute, Stdout: &stdout, Stderr: &stderr})
	return stdout.String(), stderr.String(), err
}
