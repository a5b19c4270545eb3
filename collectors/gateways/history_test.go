package gateways

import (
	"testing"
	"time"
)

// story makes a history, one letter per reading, 30 s apart:
//
//	U up  . no SA  c connecting  x in XAUTH  I IKE without child  C child without IKE  k closing
//	? unknown word
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
			o.IKESAs, o.Closing = 1, 1
		case '?':
			o.Up, o.IKESAs, o.ChildSAs, o.ChildUp = Unknown, 1, 1, true
		}
		h.Add(&o)
	}
	return h
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
		{"kk", -1, 0, false, false},
		{"Uk.k", -1, 30, false, false},
		{"kkc", -1, -1, false, false},
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

// TestHistoryIsBounded: by number and time, and a fault is as old as it is.
func TestHistoryIsBounded(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		kept     int
	}{{time.Second, 151}, {30 * time.Second, 10}, {5 * time.Minute, 10}} {
		h := &History{Expected: true}
		at := time.Unix(0, 0)
		for range 1000 {
			h.Add(&Observation{At: at, Up: No})
			at = at.Add(c.interval)
		}
		kept := h.Observations
		h.Add(&Observation{At: at, Up: No, PathMTU: 1400})
		if len(h.Observations) != c.kept || h.Observations[c.kept-1].PathMTU != 1400 || kept[len(kept)-1].PathMTU != 0 || !h.NoSA().Equal(time.Unix(0, 0)) {
			t.Errorf("every %v: %d observations, no SA since %v", c.interval, len(h.Observations), h.NoSA())
		}
	}
}
