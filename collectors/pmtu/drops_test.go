package pmtu

import (
	"testing"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
)

// dropping is a network whose host loses answers all the time.
type dropping struct {
	collectors.Network
	lost uint64
}

func (d *dropping) LocalDrops(bool) uint64 {
	d.lost++
	return d.lost
}

func TestLostAnswersAreNoVerdict(t *testing.T) {
	known := methodState{known: search.BlackHole, bytes: 1400}
	for name, tt := range map[string]struct {
		result Result
		want   search.State
	}{
		"clean is proof":             {Result{State: search.Clean, Bytes: 1500}, search.Clean},
		"a PTB is proof":             {Result{State: search.Reduced, Bytes: 1400, PTBReceived: 1}, search.Reduced},
		"as known":                   {Result{State: search.BlackHole, Bytes: 1400}, search.BlackHole},
		"a new black hole is none":   {Result{State: search.BlackHole, Bytes: 1300}, search.Inconclusive},
		"an unreachable peer is not": {Result{State: search.Unreachable}, search.Inconclusive},
	} {
		known.retract(&tt.result)
		if tt.result.State != tt.want || (tt.want == search.Inconclusive) != (tt.result.Reason != "") {
			t.Errorf("%s: %s %q", name, tt.result.State, tt.result.Reason)
		}
	}
}

// TestLostAnswersOfThisHost: the collector asks the network.
func TestLostAnswersOfThisHost(t *testing.T) {
	b := newRig(t)
	b.Apply(t, "S2")
	c := New(&dropping{Network: b.stack}, Options{Keys: b.keys, Methods: []collectors.Method{collectors.ICMP}})
	for _, r := range measureOnce(t, c, b.target(false)).Results {
		if r.State != search.Inconclusive || r.Bytes != pathMTU {
			t.Errorf("%s: %s %d", r.Method, r.State, r.Bytes)
		}
	}
	if s := c.Snapshot(); s.BlackHole || s.Known {
		t.Errorf("snapshot %+v", s)
	}
	var _ dropCounter = (*netio.Stack)(nil)
}
