package gateways

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadings(t *testing.T) {
	for _, c := range []struct {
		story string
		want  Readings
	}{
		{"", Readings{}},
		{"U", Readings{Known: 1, Up: 1}},
		{"?", Readings{}},
		{"cxU", Readings{Known: 3, Up: 1, Negotiating: 2, Watched: time.Minute, State: XAuth, VendorState: "AM_TM_INIT_XAUTH_V6C"}},
		{"?c.?", Readings{Known: 2, Negotiating: 1, Watched: time.Minute, State: Connecting, VendorState: "MM_WAIT_MSG2"}},
		{"UIk", Readings{Known: 3, Up: 1, Watched: time.Minute}},
	} {
		if diff := cmp.Diff(c.want, story(c.story).Readings()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.story, diff)
		}
	}
}

func TestNewest(t *testing.T) {
	if got := story("").Newest(); got != (Observation{}) {
		t.Errorf("%+v of no readings", got)
	}
	if got := story("U.").Newest(); got.Up != No || got.At.Unix() != 30 {
		t.Errorf("%+v", got)
	}
}

// TestTransfer counts over readings 30 s apart.
func TestTransfer(t *testing.T) {
	in := func(counted ...uint64) *History {
		h := &History{}
		for i, n := range counted {
			h.Add(&Observation{At: time.Unix(int64(30*i), 0), ChildUp: true, In: Counted(n), Out: Counted(10 * n)})
		}
		return h
	}
	gap, uncounted := in(1, 2, 3), in(1, 2, 3)
	gap.Observations[1].ChildUp = false
	uncounted.Observations[0].Out.Known = false
	for name, c := range map[string]struct {
		h    *History
		want Transfer
		ok   bool
	}{
		"no readings":           {in(), Transfer{}, false},
		"too short":             {in(1, 2), Transfer{}, false},
		"long enough":           {in(1, 2, 5), Transfer{From: time.Unix(0, 0), To: time.Unix(60, 0), In: 4, Out: 40}, true},
		"no longer than needed": {in(1, 2, 5, 9), Transfer{From: time.Unix(30, 0), To: time.Unix(90, 0), In: 7, Out: 70}, true},
		"without a child once":  {gap, Transfer{}, false},
		"not counted":           {uncounted, Transfer{}, false},
	} {
		got, ok := c.h.Transfer(time.Minute)
		if diff := cmp.Diff(c.want, got); diff != "" || ok != c.ok {
			t.Errorf("%s: %t (-want +got):\n%s", name, ok, diff)
		}
	}
}
