package pmtu

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
	"ipsec_path_exporter/internal/silence"
)

// measuredOnce runs one round of all methods on a path whose echoes were answered, or not. sized is when
// the searches had ended.
func measuredOnce(t *testing.T, path *netsim.Path, once *collectors.Once) (r Results, sized time.Duration) {
	t.Helper()
	c := collector(t, path)
	c.opts.Locate, c.opts.Once, c.opts.Silence, c.opts.Walk = true, once, silence.New(), true
	began := time.Now()
	if once != nil {
		once.Sized = func() { sized = time.Since(began) }
	}
	r, err := c.Measure(t.Context(), collectorstest.Target(false))
	if err != nil {
		t.Fatal(err)
	}
	return r, sized
}

// span is when the first and the last probe of a method were sent with the usual TTL, until some time.
func span(sent []netsim.Sent, until time.Duration, protocol netio.Protocol, port uint16) (first, last time.Duration) {
	first = -1
	for _, s := range sent {
		if s.Protocol != protocol || s.Port != port || s.TTL > 0 || s.At > until {
			continue
		}
		if first < 0 {
			first = s.At
		}
		last = s.At
	}
	return first, last
}

func holed(cfg netsim.Config) netsim.Config {
	cfg.MTU, cfg.PTB.Drop, cfg.Hops, cfg.Delay = 1400, true, routersOf(false), 5*time.Millisecond
	return cfg
}

// TestOnceSideBySide: the three searches of a peer that is measured once run at the same time, find what
// they find one after the other, and no ladder starts before the last has ended.
func TestOnceSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		once := collectors.NewOnce()
		once.Answered(5 * time.Millisecond)
		path := netsim.New(holed(netsim.Config{}), 1)
		r, sized := measuredOnce(t, path, once)
		inTurn, _ := measuredOnce(t, netsim.New(holed(netsim.Config{}), 1), nil)
		for _, results := range [][]Result{r.Results, inTurn.Results} {
			for _, one := range results {
				if one.State != search.BlackHole || one.Bytes != 1400 {
					t.Errorf("%s: %s of %d bytes", one.Method, one.State, one.Bytes)
				}
			}
			if len(results) != 3 {
				t.Errorf("%d results", len(results))
			}
		}
		var begins, ends []time.Duration
		for port, protocol := range map[uint16]netio.Protocol{0: netio.Echo, 500: netio.UDP, 4500: netio.UDP} {
			first, last := span(path.Sent(), sized, protocol, port)
			begins, ends = append(begins, first), append(ends, last)
		}
		if latest := slices.Max(begins); slices.Min(begins) < 0 || latest >= slices.Min(ends) {
			t.Errorf("searches from %v to %v: they do not overlap", begins, ends)
		}
		ladder := slices.IndexFunc(path.Sent(), func(s netsim.Sent) bool { return s.TTL > 0 })
		if ladder < 0 || path.Sent()[ladder].At < sized {
			t.Errorf("the ladder starts with packet %d, the searches ended after %v", ladder, sized)
		}
	})
}

// TestOnceListens: where no echo is answered, sixteen in a row are sent before a black hole to IKE counts
// as one without PTBs, with those that were sent already; and none where IKE finds no fault.
func TestOnceListens(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg   netsim.Config
		state search.State
		most  int // echoes
		least int
	}{
		"black hole": {holed(netsim.Config{DropICMP: true}), search.BlackHole, deafAfter - 5, deafAfter - 5},
		"clean":      {netsim.Config{DropICMP: true, Delay: 5 * time.Millisecond}, search.Clean, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				once := collectors.NewOnce()
				once.Answered(5 * time.Millisecond)
				once.Echoed(5)
				path := netsim.New(tt.cfg, 1)
				r, sized := measuredOnce(t, path, once)
				echoes := 0
				for _, s := range path.Sent() {
					if s.Protocol == netio.Echo && s.TTL == 0 && s.At <= sized {
						echoes++
					}
				}
				if echoes < tt.least || echoes > tt.most {
					t.Errorf("%d echoes, want %d to %d", echoes, tt.least, tt.most)
				}
				for _, one := range r.Results {
					want := tt.state
					if one.Method == collectors.ICMP {
						want = search.Unreachable
					}
					if one.State != want {
						t.Errorf("%s: %s (%s), want %s", one.Method, one.State, one.Reason, want)
					}
				}
			})
		})
	}
}

// TestOnceWaitsForEchoes: no echo of a search is sent while echo requests are sent whose loss counts.
func TestOnceWaitsForEchoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		once := collectors.NewOnce()
		once.Echoing()
		path := netsim.New(netsim.Config{Delay: 5 * time.Millisecond}, 1)
		time.AfterFunc(time.Minute, func() { once.Echoed(0) })
		r, _ := measuredOnce(t, path, once)
		first, _ := span(path.Sent(), time.Hour, netio.Echo, 0)
		ike, _ := span(path.Sent(), time.Hour, netio.UDP, 500)
		if first < time.Minute || ike < 0 || ike >= time.Minute || len(r.Results) != 3 {
			t.Errorf("echoes after %v, IKE after %v, %d results", first, ike, len(r.Results))
		}
	})
}

// TestOnceHearsLateEchoes: echo requests that are answered late, after IKE has shown the path, are no
// silence. Without an answer, nothing is searched by echo.
func TestOnceHearsLateEchoes(t *testing.T) {
	for _, answered := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			once := collectors.NewOnce()
			once.Echoing()
			once.Echoed(5)
			unanswered, want := 5, search.Unreachable
			if answered {
				unanswered, want = 0, search.Clean
			}
			time.AfterFunc(time.Minute, func() { once.Echoed(unanswered); once.Decided() })
			r, _ := measuredOnce(t, netsim.New(netsim.Config{Delay: 5 * time.Millisecond}, 1), once)
			if len(r.Results) != 3 {
				t.Errorf("%d results", len(r.Results))
			}
			for _, one := range r.Results {
				if one.Method == collectors.ICMP && one.State != want {
					t.Errorf("answered %t: %s (%s)", answered, one.State, one.Reason)
				}
			}
		})
	}
}

// TestOnceNoFalseHole: an ICMP limit that drops PTBs makes no black hole, whatever is sent side by side.
func TestOnceNoFalseHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range 40 {
			once := collectors.NewOnce()
			once.Answered(5 * time.Millisecond)
			path := netsim.New(netsim.Config{
				MTU: 1400, Hops: routersOf(false), Delay: 5 * time.Millisecond,
				ICMP: netsim.Limit{Every: time.Second}, Others: 2 * time.Second,
			}, uint64(seed))
			r, _ := measuredOnce(t, path, once)
			for _, one := range r.Results {
				if one.State == search.BlackHole {
					t.Errorf("seed %d, %s: %s of %d bytes", seed, one.Method, one.State, one.Bytes)
				}
			}
		}
	})
}
