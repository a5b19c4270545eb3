package exporter

import (
	"log/slog"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// TestLaddersWait: a ladder of the protocols is demanded where it explains what is known, but not at a
// peer that may just have died, nor soon after a ladder that found nothing out.
func TestLaddersWait(t *testing.T) {
	t.Parallel()
	now := time.Now()
	// Echoes are silent in every flow since a minute ago, and IKE was answered at this time.
	quiet := func(answered time.Time) *diagnosis.Facts {
		one := ike.Result{State: ike.Responding, Sent: 1, At: answered}
		lost := flows.Result{Method: collectors.ICMP, State: flows.Silent, Tested: 4, Lost: 4}
		return &diagnosis.Facts{Findings: suite.Findings{
			ICMP:  &icmp.Result{State: icmp.Silent, At: now, Since: now.Add(-time.Minute), Sent: 100, Received: 97, Unanswered: 3},
			IKE:   &ike.Results{IKE: one, NATT: one},
			Flows: &flows.Results{At: now, Results: []flows.Result{lost}},
		}}
	}
	for name, tt := range map[string]struct {
		answered time.Duration // after the echoes became silent
		mute     int           // echoes that stayed without an answer
		again    time.Duration // after the ladder before, 0 if there was none
		want     bool
	}{
		"IKE was answered since":       {answered: 30 * time.Second, want: true},
		"IKE was answered before":      {answered: -30 * time.Second},
		"nothing was answered lately":  {answered: 30 * time.Second, mute: 2},
		"soon after a failed ladder":   {answered: 30 * time.Second, again: climbGap / 2},
		"later after a failed ladder":  {answered: 30 * time.Second, again: climbGap, want: true},
		"one echo more was not enough": {answered: 30 * time.Second, mute: 1, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := idleApp(t, slog.New(slog.DiscardHandler))
			cfg, err := config.FromArguments([]string{"hq=127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			a.applyPeers(t.Context(), cfg) // the schedule does not run: nothing is sent
			p, _ := a.find("hq")
			for range tt.mute {
				lane := netio.Lane(p.Target().Path, netio.Echo, 0)
				if _, err := a.tools.Stack.Silence().Admit(lane, now.Add(-20*time.Second), silence.Probe{Packets: 1, Plain: true}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.again > 0 {
				p.climbed = now.Add(-tt.again)
			}
			got := p.withProtocols(0, quiet(now.Add(tt.answered-time.Minute)), nil, now)
			if got.Has(suite.Protocols) != tt.want {
				t.Errorf("demands a ladder: %t", !tt.want)
			}
		})
	}
}
