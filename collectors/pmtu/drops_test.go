package pmtu

import (
	"testing"

	"ipsec_path_exporter/collectors"
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
	known := methodState{known: BlackHole, bytes: 1400}
	for name, tt := range map[string]struct {
		result Result
		want   State
	}{
		"clean is proof":             {Result{State: Clean, Bytes: 1500}, Clean},
		"a PTB is proof":             {Result{State: Reduced, Bytes: 1400, PTBReceived: 1}, Reduced},
		"as known":                   {Result{State: BlackHole, Bytes: 1400}, BlackHole},
		"a new black hole is none":   {Result{State: BlackHole, Bytes: 1300}, Inconclusive},
		"an unreachable peer is not": {Result{State: Unreachable}, Inconclusive},
	} {
		known.doubt(&tt.result)
		if tt.result.State != tt.want || (tt.want == Inconclusive) != (tt.result.Reason != "") {
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
		if r.State != Inconclusive || r.Bytes != pathMTU {
			t.Errorf("%s: %s %d", r.Method, r.State, r.Bytes)
		}
	}
	if s := c.Snapshot(); s.BlackHole || s.Known {
		t.Errorf("snapshot %+v", s)
	}
	var _ dropCounter = (*netio.Stack)(nil)
}
