package partner

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
)

// A router knows one route.
type router netio.Route

func (r router) Route(netio.Path) (netio.Route, error) { return netio.Route(r), nil }

// TestMTUOfEachDirection: both directions to the byte, independently, and nothing of it counts as loss.
func TestMTUOfEachDirection(t *testing.T) {
	for _, tt := range []struct {
		there, back, link int
		wantThere         MTU
		wantBack          MTU
	}{
		{0, 0, 0, MTU{State: search.Clean, Bytes: 1500}, MTU{State: search.Clean, Bytes: 1500}},
		{1400, 0, 0, MTU{State: search.BlackHole, Bytes: 1400}, MTU{State: search.Clean, Bytes: 1500}},
		{0, 1399, 0, MTU{State: search.Clean, Bytes: 1500}, MTU{State: search.BlackHole, Bytes: 1399}},
		{1400, 1300, 0, MTU{State: search.BlackHole, Bytes: 1400}, MTU{State: search.BlackHole, Bytes: 1300}},
		{0, 0, 1420, MTU{State: search.Clean, Bytes: 1500}, MTU{State: search.Clean, Bytes: 1420}},
	} {
		for _, loss := range []float64{0, 0.1} {
			synctest.Test(t, func(t *testing.T) {
				s, c := simulate(t)
				measure(t, c) // or the loss may keep them from meeting
				c.opts.Router = router{Src: netip.MustParseAddr("192.0.2.1"), LinkMTU: 1500}
				rng := rand.New(rand.NewPCG(3, uint64(tt.there+tt.back)))
				s.mtu, s.link = [2]int{tt.there, tt.back}, tt.link
				s.there = func() (bool, time.Duration) { return rng.Float64() < loss, 8 * time.Millisecond }
				s.back = func() (bool, time.Duration) { return rng.Float64() < loss, 4 * time.Millisecond }
				r := measure(t, c)
				for name, one := range map[string]struct{ got, want MTU }{"there": {r.There.MTU, tt.wantThere}, "back": {r.Back.MTU, tt.wantBack}} {
					if loss > 0 && one.got.State == search.Inconclusive && one.got.Bytes <= one.want.Bytes {
						continue // the limits of a search do not suffice for this much loss: nothing wrong is said
					}
					if one.got.State != one.want.State || one.got.Bytes != one.want.Bytes || one.got.Packets > 150 {
						t.Errorf("%+v with loss %v: %s %+v", tt, loss, name, one.got)
					}
				}
				if loss == 0 && r.Counts.LostThere+r.Counts.LostBack != 0 {
					t.Errorf("%+v: %+v", tt, r.Counts)
				}
				time.Sleep(mtuEvery)
				before := s.requests // no look at fragments is due
				if again := measure(t, c); loss == 0 && (again.There.MTU.Bytes != r.There.MTU.Bytes || s.requests-before > 25) {
					t.Errorf("%+v: the second look sends %d packets: %+v", tt, s.requests-before, again.There.MTU)
				}
			})
		}
	}
}

// TestMTUFollows: a path MTU that grows or shrinks is found at the next look.
func TestMTUFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := simulate(t)
		c.opts.Router = router{Src: netip.MustParseAddr("192.0.2.1"), LinkMTU: 1500}
		for _, mtu := range []int{1500, 1400, 1460, 1280, 1500} {
			s.mu.Lock()
			s.mtu = [2]int{mtu, 1500}
			s.mu.Unlock()
			if r := measure(t, c); r.There.MTU.Bytes != mtu || r.Back.MTU.Bytes != 1500 || !r.There.MTU.Known() {
				t.Errorf("%d bytes: %+v", mtu, r.There.MTU)
			}
			time.Sleep(mtuEvery)
		}
	})
}

// TestFragmentsOfEachDirection: whether fragments pass each direction, independently and also with loss.
func TestFragmentsOfEachDirection(t *testing.T) {
	for there := range FragmentsDropped {
		for back := range FragmentsDropped {
			for _, loss := range []float64{0, 0.1} {
				synctest.Test(t, func(t *testing.T) {
					s, c := simulate(t)
					measure(t, c) // or the loss may keep them from meeting
					c.opts.Router = router{Src: netip.MustParseAddr("192.0.2.1"), LinkMTU: 1500}
					rng := rand.New(rand.NewPCG(5, uint64(there)<<8+uint64(back)))
					s.link = 1500
					for i, state := range []FragmentState{there, back} {
						if state+1 == FragmentsDropped {
							s.mtu[i] = 1500 // as if no fragment passed
						}
					}
					lose := func() bool { return rng.Float64() < loss }
					s.there = func() (bool, time.Duration) { return lose(), 8 * time.Millisecond }
					s.back = func() (bool, time.Duration) { return lose(), 4 * time.Millisecond }
					r := measure(t, c)
					if r.There.Fragments != there+1 || r.Back.Fragments != back+1 {
						t.Errorf("%v and %v with loss %v: %v and %v", there+1, back+1, loss, r.There.Fragments, r.Back.Fragments)
					}
				})
			}
		}
	}
}
