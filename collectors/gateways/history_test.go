package gateways

import (
	"strings"
	"testing"
	"time"
)

// story makes a history, one letter per reading, 30 s apart:
//
//	U up  . no SA  c connecting  x in XAUTH  I IKE without child  C child without IKE  k closing  ? unknown word
func story(s string) *History {
	h := &History{Expected: true}
	for i, r := range s {
		o := Observation{At: time.Unix(int64(30*i), 0), Up: No}
		switch r {
		case 'U':
			o.Up, o.IKEUp, o.ChildUp, o.IKESAs, o.ChildSAs = Yes, true, true, 1, 1
		case 'c':
			o.IKESAs, o.State, o.VendorState = 1, Connecting, "MM_WAIT_MSG2"
		case 'x':
			o.IKESAs, o.State, o.VendorState = 1, XAuth, "AM_TM_INIT_XAUTH_V6C"
		case 'I':
			o.IKESAs, o.IKEUp = 1, true
		case 'C':
			o.ChildSAs, o.ChildUp = 1, true
		case 'k':
			o.IKESAs = 1
		case '?':
			o.Up, o.IKESAs, o.ChildSAs, o.ChildUp = Unknown, 1, 1, true
		}
		h.add(&o)
	}
	return h
}

func TestStuck(t *testing.T) {
	for _, c := range []struct {
		name, story string
		onDemand    bool
		want        string // the vendor's word, or "" if not stuck
		since       int64
	}{
		{"nothing read yet", "", false, "", 0},
		{"up", "UUUUU", false, "", 0},
		{"waits in XAUTH", "UUxxxxx", false, "AM_TM_INIT_XAUTH_V6C", 60},
		{"from the beginning", "xxxx", false, "AM_TM_INIT_XAUTH_V6C", 0},
		{"gives up and starts again", "Uc..c.", false, "MM_WAIT_MSG2", 30},
		{"mostly the same word", "ccxcc", false, "MM_WAIT_MSG2", 0},
		{"coming up", "UUUcc", false, "", 0},
		{"came up", "cccccU", false, "", 0},
		{"one reauthentication that breaks before it makes", "UUUcUUUcU", false, "", 0},
		{"a flap with an attempt each time", "UcUcUc", false, "", 0},
		{"no attempt is seen", ".....", false, "", 0},
		{"one attempt in a long silence", "....c", false, "", 0},
		{"leftovers", "kkkkk", false, "", 0},
		{"a child goes on without an IKE SA", "UCCCC", false, "", 0},
		{"a word that no rule knows", "?????", false, "", 0},
		{"idle on demand", "U.....", true, "", 0},
		{"short attempts on demand", "..c..c", true, "", 0},
		{"stuck on demand", "..cccc", true, "MM_WAIT_MSG2", 0},
	} {
		h := story(c.story)
		h.OnDemand = c.onDemand
		s, stuck := h.Stuck(4, 5)
		if stuck != (c.want != "") || stuck && (s.VendorState != c.want || s.Since.Unix() != c.since) {
			t.Errorf("%s (%s): stuck is %v: %+v, want %q since %d", c.name, c.story, stuck, s, c.want, c.since)
		}
	}
}

func TestAbsences(t *testing.T) {
	for _, c := range []struct {
		story               string
		child, none         int64 // since when, -1 if not at all
		onDemand, elsewhere bool
	}{
		{"", -1, -1, false, false},
		{"UUII", 60, -1, false, false},
		{"IIUII", 90, -1, false, false},
		{"UIU", -1, -1, false, false},
		{"UU..", -1, 60, false, false},
		{"UU..", -1, -1, true, false},
		{"UU..", -1, -1, false, true},
		{"UUII", -1, -1, true, false},
		{"UcI", 60, -1, false, false},
		{"kk", -1, -1, false, false},
		{"CC", -1, -1, false, false},
		{"??", -1, -1, false, false},
	} {
		h := story(c.story)
		h.OnDemand, h.Expected = c.onDemand, !c.elsewhere
		for what, got := range map[string]struct {
			since time.Time
			want  int64
		}{"child missing": {h.ChildMissing(), c.child}, "no SA": {h.NoSA(), c.none}} {
			if got.since.IsZero() != (got.want < 0) || !got.since.IsZero() && got.since.Unix() != got.want {
				t.Errorf("%q (on demand: %v): %s since %v, want %d", c.story, c.onDemand, what, got.since, got.want)
			}
		}
	}
}

func TestOneWay(t *testing.T) {
	// flow makes a history of an installed child: one pair of packet counters per reading.
	flow := func(counts ...[2]uint64) *History {
		h := story(strings.Repeat("U", len(counts)))
		for i, c := range counts {
			h.Observations[i].Out, h.Observations[i].In = Counted(c[0]), Counted(c[1])
		}
		return h
	}
	for name, c := range map[string]struct {
		history *History
		want    bool
	}{
		"nothing read":    {&History{}, false},
		"one way":         {flow([2]uint64{100, 50}, [2]uint64{110, 50}, [2]uint64{120, 50}, [2]uint64{130, 50}), true},
		"both ways":       {flow([2]uint64{100, 50}, [2]uint64{110, 50}, [2]uint64{120, 50}, [2]uint64{130, 51}), false},
		"too little":      {flow([2]uint64{100, 50}, [2]uint64{101, 50}, [2]uint64{102, 50}, [2]uint64{103, 50}), false},
		"one burst":       {flow([2]uint64{100, 50}, [2]uint64{190, 50}, [2]uint64{190, 50}, [2]uint64{190, 50}), false},
		"idle":            {flow([2]uint64{100, 50}, [2]uint64{100, 50}, [2]uint64{100, 50}, [2]uint64{100, 50}), false},
		"only in":         {flow([2]uint64{100, 50}, [2]uint64{100, 60}, [2]uint64{100, 70}, [2]uint64{100, 80}), false},
		"too few":         {flow([2]uint64{100, 50}, [2]uint64{200, 50}, [2]uint64{300, 50}), false},
		"answers are old": {flow([2]uint64{0, 0}, [2]uint64{100, 50}, [2]uint64{110, 50}, [2]uint64{120, 50}, [2]uint64{130, 50}), true},
	} {
		if _, got := c.history.OneWay(90 * time.Second); got != c.want {
			w, _ := c.history.OneWay(90 * time.Second)
			t.Errorf("%s: one way is %v, want %v: %+v", name, got, c.want, w)
		}
	}
	down := flow([2]uint64{100, 50}, [2]uint64{110, 50}, [2]uint64{120, 50}, [2]uint64{130, 50})
	down.Observations[1].ChildUp = false
	if w, got := down.OneWay(time.Hour); got || w.Out != 10 {
		t.Errorf("packets from before the tunnel was down are counted: %+v", w)
	}
	kernel := flow([2]uint64{100, 50}, [2]uint64{110, 50}, [2]uint64{120, 50}, [2]uint64{130, 50})
	for i := range kernel.Observations {
		kernel.Observations[i].Up = Unknown
	}
	if _, got := kernel.OneWay(time.Hour); !got {
		t.Error("a gateway that knows no IKE SAs has no one-way traffic")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := story(strings.Repeat("U", 3*maxHistory))
	kept := h.Observations
	h.add(&Observation{PathMTU: 1400})
	if len(h.Observations) != maxHistory || h.PathMTU() != 1400 || kept[len(kept)-1].PathMTU != 0 {
		t.Errorf("%d observations, path MTU %d", len(h.Observations), h.PathMTU())
	}
}
