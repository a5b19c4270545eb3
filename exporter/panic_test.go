package exporter

import (
	"log/slog"
	"regexp"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
)

// brokenExposer is an Exposer with a bug.
type brokenExposer struct{}

// Expose implements collectors.Exposer.
func (brokenExposer) Expose(collectors.Row, time.Time) { panic("a bug") }

// TestPanicOfAnExposer: a bug in one Exposer is logged once, with its place, and counted for every
// scrape. The other series stay.
func TestPanicOfAnExposer(t *testing.T) {
	t.Parallel()
	logged := &exportertest.Page{}
	a := idleApp(t, slog.New(slog.NewTextHandler(logged, nil)))
	cfg, err := config.FromArguments([]string{"hq=127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	a.apply(t.Context(), cfg) // the schedule does not run: nothing is sent
	p, _ := a.find("hq")
	p.series.Attach(brokenExposer{})
	s := &service{app: a, metrics: a.metricsHandler()}
	const scrapes = 3
	for range scrapes {
		if _, ok := s.scrape(t).value(`peer_info{address="127.0.0.1",family="ip4",peer="hq",source=""}`); !ok {
			t.Error("a page lacks the series of other Exposers")
		}
	}
	// The counters of the process come before the series of the peers: this page counts the earlier
	// ones.
	if v, _ := s.scrape(t).value("exposition_panics_total{}"); v != scrapes {
		t.Errorf("%v panics counted, want %d", v, scrapes)
	}
	line := regexp.MustCompile(`level=ERROR msg="exposing results panicked; series missing from /metrics" ` +
		`peer=hq exposer=exporter\.brokenExposer panic="a bug" stack=.*brokenExposer\.Expose.*panic_test\.go`)
	if !line.MatchString(logged.String()) || logged.Count("exposing results panicked") != 1 {
		t.Errorf("log:\n%s", logged)
	}
}
