package exporter

import (
	"log/slog"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/lastday"
)

// TestDays: what the schedule finds is in the last quarter of the peer's day, and nothing is in the
// others.
func TestDays(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	s := l.serve(t, quick+"peers: [{name: hq, address: "+l.Address(false)+"}]\n")
	s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq",severity="critical"}`, 1)
	p, ok := s.find("hq")
	if !ok {
		t.Fatal("no peer")
	}
	exportertest.Eventually(t, soon, "an echo", func() bool { return p.Echoes(time.Now()).State == icmp.Reachable })
	p.sample(time.Now())
	day, ok := peerPages{s.app}.Day("hq")
	if newest := day[lastday.Quarters-1]; !ok || newest.Health != lastday.Critical || newest.Bytes != 1400 || newest.RoundTrip == 0 || newest.Loss < 0 {
		t.Errorf("the newest quarter is %+v", newest)
	}
	for i := range lastday.Quarters - 2 {
		if day[i].Health != lastday.NotSampled {
			t.Errorf("quarter %d is %+v", i, day[i])
		}
	}
	if _, ok := (peerPages{s.app}).Day("nobody"); ok {
		t.Error("a peer that is not configured has a day")
	}
}

// BenchmarkStatus is what the list of 5,000 peers asks for, BenchmarkSample a sample of each of
// them.
func BenchmarkStatus(b *testing.B) {
	a := idleApp(b, slog.New(slog.DiscardHandler))
	for _, p := range idlePeers(b, a, 5000) {
		a.peers[p.Config.Name] = p
	}
	status := a.status(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if n := len(status().Peers); n != 5000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	a := idleApp(b, slog.New(slog.DiscardHandler))
	p := idlePeers(b, a, 1)[0]
	p.Tracker.Judge(time.Now(), diagnosis.Facts{})
	b.ReportAllocs()
	for b.Loop() {
		p.sample(time.Now())
	}
}
