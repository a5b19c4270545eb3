package diagnosis

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFragments(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	base := Fragments{State: FragmentDropped, Measured: start, Sent: 3, Controls: 3, ControlsAnswered: 3, Size: 1000, PieceSize: 400}
	for name, tt := range map[string]struct {
		change func(*Fragments)
		want   State
	}{
		"dropped":              {func(*Fragments) {}, Holds},
		"not counted":          {func(r *Fragments) { *r = Fragments{State: FragmentDropped, Measured: start} }, Holds},
		"undated":              {func(r *Fragments) { r.Measured = time.Time{} }, Undecided},
		"unknown":              {func(r *Fragments) { r.State = FragmentUnknown }, Undecided},
		"pass":                 {func(r *Fragments) { r.State, r.Answered = FragmentPass, 1 }, Absent},
		"one was answered":     {func(r *Fragments) { r.Answered = 1 }, Absent},
		"too few":              {func(r *Fragments) { r.Sent = 2 }, Undecided},
		"a whole one was lost": {func(r *Fragments) { r.ControlsAnswered = 2 }, Undecided},
		"a whole one was lost, more were in vain": {func(r *Fragments) { r.ControlsAnswered, r.Sent = 2, 5 }, Holds},
		"no whole one was answered":               {func(r *Fragments) { r.ControlsAnswered, r.Sent = 0, 20 }, Undecided},
		"the peer takes no such size":             {func(r *Fragments) { r.LargeRefused = true }, Undecided},
		"but says that it waited":                 {func(r *Fragments) { r.LargeRefused, r.ReassemblyTimeout = true, peer }, Holds},
	} {
		t.Run(name, func(t *testing.T) {
			r := base
			tt.change(&r)
			vs := states(Evaluate(Facts{Fragments: [methods]Fragments{natt: r}}))
			if got := vs["fragments_dropped/natt"]; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	f := Facts{Fragments: [methods]Fragments{ike: base}, Reach: [methods]Reach{silent(), silent(), silent()}}
	if diff := cmp.Diff([]string{PeerSilent}, held(Evaluate(f))); diff != "" {
		t.Errorf("a silent peer (-want +got):\n%s", diff)
	}
	base.ReassemblyTimeout = peer
	v := (&Facts{Fragments: [methods]Fragments{ike: base}}).fragmentsDropped(ike)
	want := []string{"ike: messages of 1000 bytes in fragments of 400 bytes are not answered: 0 of 3, whole messages between them: 3 of 3; " +
		"192.0.2.1 says that it waited in vain for the missing fragments"}
	if diff := cmp.Diff(want, v.Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}
