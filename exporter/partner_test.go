package exporter

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/internal/netio"
)

// answering is a second program, at the server, which answers partners. It ends with the test.
func (l *lab) answering(t *testing.T, text string) *app {
	t.Helper()
	cfg, err := config.Parse("", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	var a *app
	l.Server.Do(t, func() {
		tools, err := subject.OpenInstruments(netio.Config{Limits: subject.Limits(cfg), Log: log})
		if err != nil {
			t.Fatal(err)
		}
		if a, err = newApp(tools, cfg, icmp.BothBuckets, "", log); err != nil {
			t.Fatal(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	a.apply(ctx, cfg) // the schedule does not run: it measures nothing itself
	ended := make(chan struct{})
	go func() { defer close(ended); _ = a.partners.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; a.close() })
	return a
}

// TestPartners: two programs, from their configurations to the metrics of both. No diagnosis rests on
// the partner, whether it answers or not.
func TestPartners(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a key that both ends have"), 0o600); err != nil {
		t.Fatal(err)
	}
	partner := "partner: {key_file: " + key + "}"
	far := l.answering(t, "partners: {listen: ':10862'}\npeers: [{name: branch, address: "+l.ClientAddr(false).String()+", "+partner+"}]")
	l.SetReverseMTU(t, 1400)
	s := l.serve(t, "peers: [{name: hq, address: "+l.Address(false)+", collectors: [icmp], intervals: {icmp: 200ms, partner: 5s}, "+partner+"}]")
	var p scrape
	exportertest.Eventually(t, 90*time.Second, "the partner measures", func() bool {
		p = s.scrape(t)
		v, known := p.value(`partner_mtu_bytes{direction="reverse",peer="hq"}`)
		return known && v == 1400
	})
	for series, want := range map[string]float64{
		`partner_up{peer="hq"}`: 1, `partner_state{peer="hq",reason="up"}`: 1, `partner_mtu_bytes{direction="forward",peer="hq"}`: 1500,
		`partner_packets_lost_total{direction="forward",peer="hq"}`: 0, `partner_packets_lost_total{direction="reverse",peer="hq"}`: 0,
		`partner_dscp{direction="forward",peer="hq",received="10",sent="10"}`: 1, `peer_healthy{peer="hq"}`: 1,
	} {
		if v, ok := p.value(series); !ok || v != want {
			t.Errorf("%s = %v (present %t), want %v", series, v, ok, want)
		}
	}
	if c := far.partners.Count(); c.Unproven.Out != 0 || c.Known.In == 0 {
		t.Errorf("%+v", c)
	}
	drop := l.DropUDPPort(t, 10862)
	exportertest.Eventually(t, 90*time.Second, "silence", func() bool {
		p = s.scrape(t)
		_, silent := p.value(`partner_state{peer="hq",reason="silent"}`)
		return silent
	})
	if v, ok := p.value(`partner_up{peer="hq"}`); !ok || v != 0 || l.Dropped(t, drop) == 0 {
		t.Errorf("partner_up %v, %v", v, ok)
	}
	if v, _ := p.value(`peer_healthy{peer="hq"}`); v != 1 {
		t.Error("a silent partner makes the peer unhealthy")
	}
	if text := s.logged.String(); strings.Contains(text, "both ends") {
		t.Errorf("a key is in the log: %s", text)
	}
}
