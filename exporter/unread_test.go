package exporter

import (
	"log/slog"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
)

// TestSettlement: what a peer's health waits for, also once more when a gateway has to be watched again.
func TestSettlement(t *testing.T) {
	t.Parallel()
	var tracker diagnosis.Tracker
	answers := diagnosis.Verdicts{{Diagnosis: diagnosis.Diagnosis{Name: diagnosis.PeerSilent}, State: diagnosis.Absent}}
	tracker.Update(time.Now(), answers)
	s := settlement{unread: true}
	s.begin(suite.NewSet(suite.ICMP), &tracker)
	for _, step := range []struct {
		what  string
		known func(*settlement)
		want  bool
	}{
		{"the echo is known", func(s *settlement) { s.pending = s.pending.Without(suite.ICMP) }, false},
		{"the gateway is known", func(s *settlement) { s.unread = false }, true},
		{"the gateway shows a new history", func(s *settlement) { s.unread = true }, false},
		{"the history is old enough", func(s *settlement) { s.unread = false }, true},
	} {
		s.note(step.known, &tracker)
		if _, known := tracker.Healthy(); known != step.want {
			t.Errorf("%s: the health is known: %v", step.what, known)
		}
	}
}

// TestPeerWaitsForAGatewayThatIsNotStarted: peers are started before gateways. A peer
// that is measured in between waits for its gateway all the same.
func TestPeerWaitsForAGatewayThatIsNotStarted(t *testing.T) {
	t.Parallel()
	for name, gateways := range map[string][]string{"expected at a gateway": {"hub"}, "expected nowhere": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := idleApp(t, slog.New(slog.DiscardHandler))
			cfg, err := config.FromArguments([]string{"hq=127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			cfg.Peers[0].Gateways = gateways
			a.applyPeers(t.Context(), cfg) // the schedule does not run: nothing is sent
			p, _ := a.find("hq")
			if got := p.unread(); got != (len(gateways) > 0) {
				t.Errorf("waits for a gateway: %t", got)
			}
		})
	}
}
