package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// turn gives two verdicts, a second apart, that turn a diagnosis.
func turn(tr *Tracker, seconds int, f Facts) {
	tr.Update(at(seconds), Evaluate(measured(f, seconds)))
	tr.Update(at(seconds+2), Evaluate(measured(f, seconds+1)))
}

func TestFlapping(t *testing.T) {
	tr := &Tracker{}
	turn(tr, 0, fine)
	for i, f := range []Facts{no500, fine, no500} {
		turn(tr, 1000*(i+1), f)
	}
	if got := tr.Flapping(at(3010)); got != nil || tr.Held()[0].Flapping {
		t.Errorf("three turns: %+v", got)
	}
	// Single verdicts are no turns.
	for i := range 10 {
		tr.Update(at(3100+20*i), Evaluate(measured(fine, 3100+20*i)))
		tr.Update(at(3110+20*i), Evaluate(measured(no500, 3110+20*i)))
	}
	if got := tr.Flapping(at(3400)); got != nil {
		t.Errorf("lost rounds: %+v", got)
	}
	turn(tr, 4000, fine)
	want := []Flapper{{Name: UDP500Blocked, Turns: 4, Since: at(1000)}}
	if diff := cmp.Diff(want, tr.Flapping(at(4600))); diff != "" {
		t.Errorf("four turns (-want +got):\n%s", diff)
	}
	if got := tr.Flapping(at(4601)); got != nil {
		t.Errorf("an hour later: %+v", got)
	}
	turn(tr, 5000, no500)
	if diff := cmp.Diff([]Flapper{{Name: UDP500Blocked, Turns: 5, Since: at(2000)}}, tr.Flapping(at(5002))); diff != "" {
		t.Errorf("the fifth (-want +got):\n%s", diff)
	}
	if h := tr.Held(); len(h) != 1 || !h[0].Flapping {
		t.Errorf("held %+v", h)
	}
	tr.Update(at(9000), Evaluate(noNews))
	if h := tr.Held(); len(h) != 1 || h[0].Flapping {
		t.Errorf("much later, held %+v", h)
	}
}

// What holds from the first measurement on is not new, what was absent before is.
func TestAppeared(t *testing.T) {
	for name, tt := range map[string]struct {
		first Facts
		want  bool
	}{
		"absent before": {fine, true}, "there from the first": {no500, false}, "nothing known before": {noNews, false},
	} {
		tr := &Tracker{}
		tr.Update(at(5), Evaluate(measured(tt.first, 4)))
		turn(tr, 10, no500)
		if h := tr.Held(); len(h) != 1 || h[0].Appeared != tt.want || !h[0].Confirmed.Equal(at(11)) {
			t.Errorf("%s: held %+v", name, h)
		}
	}
}

// A peer that refuses both IKE ports is there and speaks no IKE. One refused port is a matter of
// configuration.
func TestRefusedPeer(t *testing.T) {
	both := reaching([methods]reaction{answers, refused, refused})
	one := reaching([methods]reaction{answers, answers, refused})
	half := reaching([methods]reaction{answers, refused, unasked})
	tr := &Tracker{}
	play(t, tr, []step{
		{10, measured(one, 9), "", false, "healthy"},
		{20, measured(both, 19), "", true, "healthy"},
		{22, measured(both, 21), "+ike_refused@20s", false, "ill"},
	})
	if h := tr.Held(); len(h) != 1 || len(h[0].Evidence) != 2 ||
		h[0].Summary != "The peer itself refuses UDP 500 and UDP 4500: no IKE daemon listens there." {
		t.Errorf("held %+v", h)
	}
	play(t, tr, []step{
		{30, measured(half, 29), "", false, "ill"}, // nothing is known of the other port any more
		{40, measured(fine, 39), "", true, "ill"},
		{42, measured(fine, 41), "-ike_refused@40s", false, "healthy"},
	})
}

// An idle on-demand tunnel, or a renewal, never makes a verdict that has to be confirmed.
func TestQuietTunnels(t *testing.T) {
	pair := func(seconds int, readings string, onDemand bool) Facts {
		f := measured(fine, seconds)
		g := watched(readings, 30*time.Second, at(seconds))
		g.OnDemand = onDemand
		f.Gateways = []Gateway{g}
		return f
	}
	play(t, &Tracker{}, []step{
		{10, pair(9, "UUUUU", false), "", false, "healthy"},
		{40, pair(39, "UUUU.", false), "", false, "healthy"},
		{70, pair(69, "UUU..", false), "", false, "healthy"},
		{100, pair(99, "UU..U", false), "", false, "healthy"},
	})
	play(t, &Tracker{}, []step{{10, pair(9, ".....", true), "", false, "healthy"}, {40, pair(39, ".....", true), "", false, "healthy"}})
}
