package exporter

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab"
)

// margin is how much longer than an interval a change may take to be seen: the search, where it is,
// the comparison of flows, a second search that confirms it, and one of these once more after a round
// that a busy machine cut off. It takes some 12 s without other load.
const margin = time.Minute

// blackHole are the series that show a black hole on the path to a peer. The second exists only
// while there is one.
func blackHole(peer string) (gauge, diagnosis string) {
	return `mtu_black_hole{peer="` + peer + `"}`, `diagnosis{diagnosis="pmtu_black_hole",peer="` + peer + `",severity="critical"}`
}

// shows reports whether both series show a black hole, or both show none.
func (s scrape) shows(peer string, hole bool) bool {
	gauge, diagnosis := blackHole(peer)
	v, ok := s.value(gauge)
	_, held := s.value(diagnosis)
	return ok && (v == 1) == hole && held == hole
}

// TestPathChanges: the path shrinks without a message while the program serves, and grows back. The
// interval of 20 s stands for the default one of 60 s; it must not be shorter than a search of
// three methods that finds a black hole, or each is cut off; BenchmarkBlackHole takes the whole
// time.
func TestPathChanges(t *testing.T) {
	t.Parallel()
	const interval = 20 * time.Second
	l := newLab(t)
	s := l.serve(t, "modules: {default: {intervals: {icmp: 200ms, ike: 10s, pmtu: 20s, pmtu_raise: 10m}}}\n"+
		"peers:\n- {name: four, address: "+l.Address(false)+"}\n- {name: six, address: '"+l.Address(true)+"'}\n")
	for _, peer := range []string{"four", "six"} {
		s.awaitMeasured(t, peer)
	}
	both := func(hole bool) func() bool {
		return func() bool {
			p := s.scrape(t)
			return p.shows("four", hole) && p.shows("six", hole)
		}
	}
	if !both(false)() {
		t.Fatalf("a black hole on a clean path:\n%s", strings.Join(s.scrape(t).of("four"), "\n"))
	}
	l.DropPTB(t)
	l.SetMTU(t, 1400)
	t.Logf("seen after %v", exportertest.Eventually(t, interval+margin, "the path has shrunk", both(true)).Round(time.Millisecond))
	for _, peer := range []string{"four", "six"} {
		s.await(t, margin, `mtu_changes_total{peer="`+peer+`"}`, 3) // by each method
	}
	for series, want := range map[string]float64{
		`mtu_bytes{method="ike",peer="four"}`: 1400, `mtu_state{method="icmp",peer="six",state="black_hole"}`: 1, `peer_healthy{peer="four"}`: 0,
		`tunnel_mtu_bytes{peer="four"}`: 1326, `icmp_reachable{peer="four"}`: 1, `ike_responding{method="natt",peer="six"}`: 1,
	} {
		s.await(t, margin, series, want) // a round that runs out of time on a busy machine is followed by another
	}
	if v, _ := s.scrape(t).value(`diagnosis_since_timestamp_seconds{diagnosis="pmtu_black_hole",peer="four"}`); time.Since(time.UnixMilli(int64(v*1e3))) > interval+margin {
		t.Errorf("since %v", v)
	}

	l.SetMTU(t, netlab.DefaultMTU)
	t.Logf("over after %v", exportertest.Eventually(t, interval+margin, "the path has grown back", both(false)).Round(time.Millisecond))
	s.await(t, margin, `peer_healthy{peer="four"}`, 1)
	for _, peer := range []string{"four", "six"} {
		for _, turn := range []string{"raised", "cleared"} {
			text := fmt.Sprintf(`msg="diagnosis %s" peer=%s`, turn, peer)
			if n := s.logged.Count(text + " diagnosis=pmtu_black_hole "); n != 1 {
				t.Errorf("%d lines with %s for the black hole:\n%s", n, text, s.logged)
			}
			// Routers do not fragment IPv6, and no message reaches the peer either: its reverse
			// path is a black hole too, and may have been confirmed.
			others := s.logged.Count(text) - 1
			if back := s.logged.Count(text + " diagnosis=pmtu_black_hole_reverse "); others != back || back > 1 || back > 0 && peer == "four" {
				t.Errorf("%d other lines with %s:\n%s", others, text, s.logged)
			}
		}
	}
}

// BenchmarkBlackHole measures how long it takes at the default intervals until a black hole is
// diagnosed after it has come, and until it is cleared after it has gone. Each iteration takes
// minutes.
func BenchmarkBlackHole(b *testing.B) {
	l := newLab(b)
	cfg, err := config.FromArguments([]string{"hq=" + l.Address(false)})
	if err != nil {
		b.Fatal(err)
	}
	s := &service{app: l.app(b, cfg, slog.New(slog.DiscardHandler), false)}
	s.start(b, cfg)
	s.awaitMeasured(b, "hq")
	l.DropPTB(b)
	// The most that each may take.
	const seen, over = 75 * time.Second, 11 * time.Minute
	var detection, clearing time.Duration
	for b.Loop() {
		l.SetMTU(b, 1400)
		detection += exportertest.Eventually(b, seen, "a black hole", func() bool { return s.scrape(b).shows("hq", true) })
		l.SetMTU(b, netlab.DefaultMTU)
		clearing += exportertest.Eventually(b, over, "no black hole", func() bool { return s.scrape(b).shows("hq", false) })
	}
	b.ReportMetric(detection.Seconds()/float64(b.N), "s/detection")
	b.ReportMetric(clearing.Seconds()/float64(b.N), "s/clearing")
	b.ReportMetric(0, "ns/op")
}
