package exporter

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/diagnosis"
)

// TestStory: readings every 30 s, and what follows from them.
func TestStory(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	up := func(in, out uint64) gateways.Observation {
		return gateways.Observation{
			Up: gateways.Yes, IKEUp: true, ChildUp: true, IKESAs: 1, ChildSAs: 1, In: gateways.Counted(in), Out: gateways.Counted(out),
			PathMTU: 1500, NATT: gateways.Yes,
		}
	}
	none := gateways.Observation{Up: gateways.No}
	bare := gateways.Observation{Up: gateways.No, IKEUp: true, IKESAs: 1}
	tries := gateways.Observation{Up: gateways.No, IKESAs: 1, State: gateways.XAuth, VendorState: "AM_TM_INIT_XAUTH_V6C"}
	kernel := gateways.Observation{Up: gateways.Unknown, NoIKE: true, ChildUp: true, ChildSAs: 1, In: gateways.Counted(0), Out: gateways.Counted(0)}
	odd := gateways.Observation{Up: gateways.Unknown, IKESAs: 1, ChildSAs: 1}
	for name, tt := range map[string]struct {
		seen     []gateways.Observation
		onDemand bool
		want     string
	}{
		"nothing read":              {nil, false, ""},
		"up":                        {[]gateways.Observation{up(1, 1), up(2, 2), up(3, 3), up(4, 4), up(5, 5)}, false, ""},
		"no SA, for a while":        {[]gateways.Observation{up(1, 1), none, none, none}, false, "no_sa"},
		"no SA, only just":          {[]gateways.Observation{up(1, 1), none, none}, false, ""},
		"no SA, on demand":          {[]gateways.Observation{none, none, none, none}, true, ""},
		"no child, for a while":     {[]gateways.Observation{bare, bare, bare}, false, "child_missing"},
		"no child, only just":       {[]gateways.Observation{up(1, 1), bare, bare}, false, ""},
		"stuck":                     {[]gateways.Observation{tries, none, tries, none, tries}, false, "negotiation_stuck"},
		"one attempt":               {[]gateways.Observation{none, tries, tries, tries}, false, ""},
		"up at last":                {[]gateways.Observation{tries, tries, tries, tries, up(1, 1)}, false, ""},
		"long up, then an attempt":  {[]gateways.Observation{up(1, 1), up(2, 2), up(3, 3), up(4, 4), up(5, 5), tries, tries}, false, ""},
		"one way":                   {[]gateways.Observation{up(7, 0), up(7, 5), up(7, 10)}, false, "esp_one_way"},
		"one way, too few":          {[]gateways.Observation{up(7, 0), up(7, 5), up(7, 9)}, false, ""},
		"one way, too short":        {[]gateways.Observation{up(7, 0), up(7, 50)}, false, ""},
		"one way, but not just now": {[]gateways.Observation{up(7, 0), up(7, 50), up(8, 100)}, false, ""},
		"the kernel knows no IKE":   {[]gateways.Observation{kernel, kernel, kernel, kernel, kernel}, false, ""},
		"a word that nobody knows":  {[]gateways.Observation{odd, odd, odd, odd, odd}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := gateways.History{Expected: true, OnDemand: tt.onDemand}
			for i, o := range tt.seen {
				o.At = start.Add(time.Duration(i) * 30 * time.Second)
				h.Add(&o)
			}
			var holds []string
			g := story("hub", &h)
			for _, v := range diagnosis.Evaluate(diagnosis.Facts{Gateways: []diagnosis.Gateway{g}}) {
				if v.State == diagnosis.Holds {
					holds = append(holds, v.Name)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(holds, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s%+v", diff, g)
			}
		})
	}
	h := gateways.History{Observations: []gateways.Observation{tries, up(1, 1)}}
	if g := story("hub", &h); g.Encapsulation != diagnosis.InUDP || g.PathMTU != 1500 || g.VendorState != "AM_TM_INIT_XAUTH_V6C" ||
		g.Negotiation != diagnosis.XAuth || g.Readings != 2 || g.UpReadings != 1 || g.NegotiatingReadings != 1 {
		t.Errorf("%+v", g)
	}
}

func TestBare(t *testing.T) {
	t.Parallel()
	const unknown, alone, udp = diagnosis.EncapsulationUnknown, diagnosis.Bare, diagnosis.InUDP
	for _, tt := range []struct {
		seen []diagnosis.Encapsulation
		want bool
	}{
		{nil, false},
		{[]diagnosis.Encapsulation{unknown}, false},
		{[]diagnosis.Encapsulation{unknown, alone}, true},
		{[]diagnosis.Encapsulation{alone, udp}, false},
	} {
		var all []diagnosis.Gateway
		for _, e := range tt.seen {
			all = append(all, diagnosis.Gateway{Encapsulation: e})
		}
		if got := bare(all); got != tt.want {
			t.Errorf("%v: %t", tt.seen, got)
		}
	}
}
