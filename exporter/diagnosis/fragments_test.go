package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/fragments"
)

func TestFragments(t *testing.T) {
	base := fragments.Result{
		State: fragments.Dropped, At: start, Large: 1600, Sent: 3, Controls: 3, ControlsAnswered: 3, Size: 1000, Piece: 400,
	}
	for name, tt := range map[string]struct {
		change func(*fragments.Result)
		want   State
	}{
		"dropped":       {func(*fragments.Result) {}, Holds},
		"none was sent": {func(r *fragments.Result) { r.Sent, r.Controls, r.ControlsAnswered = 0, 0, 0 }, Undecided},
		"undated":       {func(r *fragments.Result) { r.At = time.Time{} }, Undecided},
		"unknown":       {func(r *fragments.Result) { r.State = fragments.Unknown }, Undecided},
		"pass":          {func(r *fragments.Result) { r.State, r.Answered = fragments.Pass, 1 }, Absent},
		"the large one passes": {func(r *fragments.Result) {
			*r = fragments.Result{State: fragments.Pass, At: start, Large: 1600, LargeAnswered: true}
		}, Absent},
		"one was answered":     {func(r *fragments.Result) { r.Answered = 1 }, Absent},
		"too few":              {func(r *fragments.Result) { r.Sent = 2 }, Undecided},
		"a whole one was lost": {func(r *fragments.Result) { r.ControlsAnswered = 2 }, Undecided},
		"a whole one was lost, more were not answered": {func(r *fragments.Result) { r.ControlsAnswered, r.Sent = 2, 5 }, Holds},
		"no whole one was answered":                    {func(r *fragments.Result) { r.ControlsAnswered, r.Sent = 0, 20 }, Undecided},
		"the peer takes no such size":                  {func(r *fragments.Result) { r.Sent, r.Controls, r.ControlsAnswered = 13, 5, 0 }, Undecided},
		"the peer takes no such size, and reports missing fragments": {
			func(r *fragments.Result) { r.Sent, r.Controls, r.ControlsAnswered, r.Incomplete = 13, 5, 0, hop(5) }, Undecided,
		},
		"the peer reports missing fragments": {func(r *fragments.Result) { r.Incomplete = hop(5) }, Holds},
	} {
		t.Run(name, func(t *testing.T) {
			r := base
			tt.change(&r)
			f := Facts{}
			f.Fragments = fragmented(fragments.Result{}, r)
			if got := states(Evaluate(f))["fragments_dropped/natt"]; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	f := reaching([methods]reaction{silent, silent, silent})
	f.Fragments = fragmented(base, fragments.Result{})
	if diff := cmp.Diff([]string{PeerSilent}, held(Evaluate(f))); diff != "" {
		t.Errorf("a silent peer (-want +got):\n%s", diff)
	}
	base.Incomplete = hop(5)
	f = Facts{}
	f.Fragments = fragmented(base, fragments.Result{})
	want := []string{"ike: messages of 1000 bytes in fragments of 400 bytes are not answered: 0 of 3, whole messages between them: 3 of 3; " +
		"198.51.100.5 reports that fragments of a message are missing"}
	if diff := cmp.Diff(want, verdictOn(t, f, FragmentsDropped, "ike").Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}
