package check

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without raw sockets, and where the kernel grants no ping sockets either, IKE still measures; what
// needs more is unknown.
const noRaw = "no raw sockets (CAP_NET_RAW): path MTU is measured by IKE only, through a UDP socket that leaves an entry in this host's path MTU cache" +
	"; no echoes, because net.ipv4.ping_group_range does not include this process's group"

func TestUnprivilegedCheck(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for scenario, want := range map[string]error{"S0": nil, "S3": ErrFault} {
		l.Apply(t, scenario)
		report, notes, err := l.check(t, "json", true, "hq="+l.Address(false))
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", scenario, err, want)
		}
		if first, _, _ := strings.Cut(notes, "\n"); first != "note: "+noRaw {
			t.Errorf("%s: notes:\n%s", scenario, notes)
		}
		d := decode(t, report)
		wantMTU, diagnoses := "clean 1500 of 1500", 0
		if want != nil {
			wantMTU, diagnoses = "black_hole 1400 of 1500", 1
		}
		var got []string
		for _, line := range d.facts() {
			if strings.HasPrefix(line, "hq mtu") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff([]string{"hq mtu ike " + wantMTU, "hq mtu natt " + wantMTU}, got); diff != "" || len(d[0].Diagnoses) != diagnoses {
			t.Errorf("%s (-want +got):\n%s\n%s", scenario, diff, report)
		}
		if i := d[0].ICMP; i == nil || i.State != "unknown" || !strings.Contains(i.Reason, "ping_group_range") {
			t.Errorf("%s: ICMP %+v", scenario, i)
		}
	}
	l.Apply(t, "S0")
	if report, _, err := l.check(t, "json", true, "dead="+l.dead()); !errors.Is(err, ErrFault) {
		t.Errorf("a peer that is not there: %v\n%s", err, report)
	}
}
