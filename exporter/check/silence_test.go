package check

import (
	"errors"
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

// TestPeersOfADeadAddress: of several peers at one address that answers nothing each is found silent. Those
// that would be asked alike are asked once, for all together may send few packets.
func TestPeersOfADeadAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dropped := l.SilentDropAbove(t, 1, netlab.Forward)
	var peers []string
	for _, name := range []string{"one", "two", "three"} {
		peers = append(peers, name+"="+l.Address(false))
	}
	report, _, err := l.check(t, "json", false, peers...)
	if !errors.Is(err, ErrFault) {
		t.Errorf("error %v", err)
	}
	for _, d := range decode(t, report) {
		if len(d.Diagnoses) != 1 || d.Diagnoses[0].Name != "peer_silent" {
			t.Errorf("%s: want peer_silent:\n%s", d.Peer, report)
		}
	}
	if n := l.Dropped(t, dropped); n == 0 || n >= 60 {
		t.Errorf("%d packets got as far as the router that drops them", n)
	}
}
