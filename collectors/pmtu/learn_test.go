package pmtu

import (
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/pmtu/search"
)

// TestRemember: a black hole names the search that found it, also after rounds that confirm it with
// few packets, and the router that reported the limit until then.
func TestRemember(t *testing.T) {
	t.Parallel()
	router, start := netip.MustParseAddr("192.0.2.33"), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	hole := func(bytes, packets, minutes int) Result {
		return Result{State: search.BlackHole, Bytes: bytes, Packets: packets, At: at(minutes)}
	}
	st := &methodState{}
	learn := func(r *Result) {
		st.remember(r)
		st.hole = 0
		if r.State == search.BlackHole {
			st.hole = r.Bytes
		}
	}
	learn(&Result{State: search.Reduced, Bytes: 1400, PTBFrom: router, PTBMTU: 1400, At: at(0)})
	first, again, smaller := hole(1400, 44, 1), hole(1400, 3, 2), hole(1300, 30, 3)
	reported := hole(1300, 5, 4)
	reported.PTBReceived = 20
	for _, r := range []*Result{&first, &again, &smaller, &reported} {
		learn(r)
	}
	if again.ProvedPackets != 44 || !again.ProvedAt.Equal(at(1)) || again.SpokeFrom != router || again.SpokeMTU != 1400 || !again.SpokeUntil.Equal(at(0)) {
		t.Errorf("confirmed: %+v", again)
	}
	if smaller.ProvedPackets != 30 || !smaller.ProvedAt.Equal(at(3)) {
		t.Errorf("another size: %+v", smaller)
	}
	if reported.SpokeFrom.IsValid() {
		t.Errorf("a router still reports, and is said to have stopped: %+v", reported)
	}
	learn(&Result{State: search.Clean, Bytes: 1500, At: at(5)})
	later := hole(1300, 20, 6)
	if learn(&later); later.SpokeFrom.IsValid() || later.ProvedPackets != 20 {
		t.Errorf("after the end of the fault: %+v", later)
	}
}
