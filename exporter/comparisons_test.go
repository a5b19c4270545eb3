package exporter

import (
	"slices"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
)

// TestComparisons: a port answers and is silent again in each second of an hour, so that a verdict waits
// for a comparison, and each comparison ends at once. The gaps between them depend on what they find.
func TestComparisons(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	even, mute := flows.Result{Method: collectors.IKE, State: flows.Even, Tested: 4, Own: true}, flows.Result{Method: collectors.IKE, State: flows.Silent, Tested: 4, Lost: 4}
	stuck := flows.Result{Method: collectors.IKE, State: flows.Stuck, Tested: 4, Lost: 1}
	for name, tt := range map[string]struct {
		found   []flows.Result // by the comparisons, the last one again and again
		loss    collectors.Sample
		vantage diagnosis.Suspicion
		want    []int // seconds between the first comparisons
	}{
		"refuted":                {found: []flows.Result{even}, want: []int{60, 120, 240, 300, 300}},
		"found":                  {found: []flows.Result{mute}, want: []int{30, 30, 30, 30, 30}},
		"one flow is dead":       {found: []flows.Result{stuck}, want: []int{30, 30, 30, 30, 30}},
		"refuted, then found":    {found: []flows.Result{even, even, mute}, want: []int{60, 120, 30, 30, 30}},
		"refuted again":          {found: []flows.Result{even, mute, even}, want: []int{60, 30, 60, 120, 240}},
		"loss explains it":       {found: []flows.Result{even}, loss: collectors.Sample{Sent: 60, Lost: 40}},
		"a fault near this host": {found: []flows.Result{even}, vantage: diagnosis.Suspicion{State: diagnosis.Holds}},
		"its queue drops nearly all": {
			found: []flows.Result{even}, vantage: diagnosis.Suspicion{Congested: true, Share: 0.9},
		},
	} {
		var c comparisons
		var at []time.Time
		f := diagnosis.Facts{Vantage: tt.vantage, Findings: suite.Findings{Flows: &flows.Results{}}}
		for now := start; now.Before(start.Add(time.Hour)) && len(at) < 6; now = now.Add(time.Second) {
			f.Note(&suite.Findings{IKE: &ike.Results{IKE: ike.Result{State: ike.Responding, At: now.Add(-time.Second / 2)}}})
			f.ICMP = &icmp.Result{State: icmp.Reachable, At: now, Loss: tt.loss}
			f.IKE = &ike.Results{IKE: ike.Result{State: ike.Silent, Sent: 6, At: now}}
			if !c.demand(now, &f) {
				continue
			}
			found := tt.found[min(len(at), len(tt.found)-1)]
			at = append(at, now)
			f.Flows = &flows.Results{At: now.Add(time.Millisecond), Results: []flows.Result{found}}
		}
		var gaps []int
		for i := range at[min(1, len(at)):] {
			gaps = append(gaps, int(at[i+1].Sub(at[i]).Seconds()))
		}
		if !slices.Equal(gaps, tt.want) || len(tt.want) == 0 && len(at) > 0 {
			t.Errorf("%s: %d comparisons, %d s apart, want %d", name, len(at), gaps, tt.want)
		}
	}
}
