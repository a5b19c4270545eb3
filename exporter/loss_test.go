package exporter

import (
	"testing"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
)

// TestLossIsReported: heavy loss becomes a diagnosis, and its end ends it.
func TestLossIsReported(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, "modules: {default: {collectors: [icmp, ike], intervals: {icmp: 200ms, ike: 10s}}}\n"+
		"peers: [{name: four, address: "+l.Address(false)+"}, {name: six, address: '"+l.Address(true)+"'}]\n")
	holds := func(peers int) func() bool {
		return func() bool {
			_, by := s.holding()
			return by[diagnosis.LossHigh] == peers && by[diagnosis.PeerSilent] == 0
		}
	}
	exportertest.Eventually(t, time.Minute, "peers are healthy", func() bool {
		healthy, _ := s.holding()
		return healthy == 2
	})
	lossy := l.Loss(t, 40)
	exportertest.Eventually(t, 5*time.Minute, "loss_high holds at both", holds(2))
	l.Heal(t, lossy)
	exportertest.Eventually(t, 5*time.Minute, "loss_high is cleared", holds(0))
}
