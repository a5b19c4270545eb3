package check

import (
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

// TestSilentAddressIsSpared: a check of an address that answers nothing keeps to the bound, and finds
// the fault nevertheless.
func TestSilentAddressIsSpared(t *testing.T) {
	t.Parallel()
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			dropped := l.SilentDropAbove(t, 1, netlab.Forward)
			report, _, _ := l.check(t, "json", false, l.Address(v6))
			if d := decode(t, report)[0]; len(d.Diagnoses) != 1 || d.Diagnoses[0].Name != "peer_silent" {
				t.Errorf("want peer_silent:\n%s", report)
			}
			if n := l.Dropped(t, dropped); n == 0 || n >= 60 {
				t.Errorf("%d packets got as far as the router that drops them", n)
			}
		})
	}
}
