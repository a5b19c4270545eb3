package pmtu

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netsim"
)

func says(mtu int) netsim.PTBs { return netsim.PTBs{Rewrite: func(int) int { return mtu }} }

// echo is a path like that of the lab's scenario S9: one echo and one PTB per second.
func limitedEcho() netsim.Config {
	return netsim.Config{
		MTU: 1400, Echoes: netsim.Limit{Every: time.Second}, PTB: netsim.PTBs{Limit: netsim.Limit{Every: time.Second}},
	}
}

func TestScenarios(t *testing.T) {
	hole := netsim.PTBs{Drop: true}
	tests := map[string]struct {
		path    netsim.Config
		method  collectors.Method
		v6      bool
		state   search.State
		bytes   int
		packets int // at most
		within  time.Duration
		sizes   []int // exactly, if set
	}{
		"clean":              {state: search.Clean, bytes: 1500, packets: 1, within: time.Second, sizes: []int{1500}},
		"clean, IKE":         {method: collectors.IKE, state: search.Clean, bytes: 1500, packets: 1, within: time.Second, sizes: []int{1500}},
		"clean, NAT-T on v6": {method: collectors.NATT, v6: true, state: search.Clean, bytes: 1500, packets: 1, within: time.Second},
		"PTB": {
			path: netsim.Config{MTU: 1400}, state: search.Reduced, bytes: 1400, packets: 3, within: time.Second, sizes: []int{1500, 1400, 1401},
		},
		"PTB, one below the link": {
			path: netsim.Config{MTU: 1499}, state: search.Reduced, bytes: 1499, packets: 2, within: time.Second, sizes: []int{1500, 1499},
		},
		"PTB, v6": {
			path: netsim.Config{MTU: 1280}, v6: true, state: search.Reduced, bytes: 1280, packets: 3, within: time.Second, sizes: []int{1500, 1280, 1281},
		},
		"S2 black hole": {path: netsim.Config{MTU: 1400, PTB: hole}, state: search.BlackHole, bytes: 1400, packets: 50, within: 3 * time.Second},
		"S2 black hole, v6": {
			path: netsim.Config{MTU: 1400, PTB: hole}, v6: true, method: collectors.IKE,
			state: search.BlackHole, bytes: 1400, packets: 50, within: 3 * time.Second,
		},
		"S3 by echo": {path: netsim.Config{MTU: 1400, DropICMP: true}, state: search.Unreachable, packets: 11, within: 7 * time.Second},
		"S3 by IKE": {
			path: netsim.Config{MTU: 1400, DropICMP: true}, method: collectors.IKE,
			state: search.BlackHole, bytes: 1400, packets: 50, within: 3 * time.Second,
		},
		"S5 by NAT-T": {
			path: netsim.Config{MTU: 1400, DropICMP: true, DropFragments: true}, method: collectors.NATT,
			state: search.BlackHole, bytes: 1400, packets: 50, within: 3 * time.Second,
		},
		"S6b reverse black hole, echo": {
			path: netsim.Config{ReverseMTU: 1400, ReverseDrop: true}, state: search.BlackHole, bytes: 1400, packets: 50, within: 3 * time.Second,
		},
		"S6b reverse black hole, IKE": {
			path: netsim.Config{ReverseMTU: 1400, ReverseDrop: true}, method: collectors.IKE, state: search.Clean, bytes: 1500, packets: 1, within: time.Second,
		},
		"S7a PTB names 0":            {path: netsim.Config{MTU: 1400, PTB: says(0)}, state: search.Reduced, bytes: 1400, packets: 40, within: time.Second},
		"S7b PTB names 300":          {path: netsim.Config{MTU: 1400, PTB: says(300)}, state: search.Reduced, bytes: 1400, packets: 40, within: time.Second},
		"S7b PTB names 300, to IKE":  {path: netsim.Config{MTU: 1400, PTB: says(300)}, method: collectors.IKE, state: search.Reduced, bytes: 1400, packets: 40, within: time.Second},
		"S7b PTB names 600, v6":      {path: netsim.Config{MTU: 1400, PTB: says(600)}, v6: true, state: search.Reduced, bytes: 1400, packets: 40, within: time.Second},
		"S7c PTB names 1450":         {path: netsim.Config{MTU: 1400, PTB: says(1450)}, state: search.BlackHole, bytes: 1400, packets: 60, within: 3 * time.Second},
		"PTB names more than probed": {path: netsim.Config{MTU: 1400, PTB: says(9000)}, state: search.BlackHole, bytes: 1400, packets: 60, within: 3 * time.Second},
		"PTB flood": {
			path:  netsim.Config{MTU: 1400, PTB: netsim.PTBs{Copies: 500, Rewrite: func(int) int { return 1450 }}},
			state: search.BlackHole, bytes: 1400, packets: 60, within: 3 * time.Second,
		},
		"S9":                  {path: limitedEcho(), state: search.Reduced, bytes: 1400, packets: 150, within: 60 * time.Second},
		"S9, IKE":             {path: limitedEcho(), method: collectors.IKE, state: search.Reduced, bytes: 1400, packets: 30, within: 3 * time.Second},
		"S9r":                 {path: netsim.Config{Replies: netsim.Limit{Every: 500 * time.Millisecond}}, state: search.Clean, bytes: 1500, packets: 1, within: time.Second},
		"S11 port filtered":   {path: netsim.Config{Respond: func(uint16, []byte) []byte { return nil }}, method: collectors.IKE, state: search.Unreachable, packets: 11, within: 7 * time.Second},
		"port closed":         {path: netsim.Config{MTU: 1400, PTB: hole, Closed: func(uint16) bool { return true }}, method: collectors.IKE, state: search.BlackHole, bytes: 1400, packets: 50, within: 3 * time.Second},
		"S13 jumbo":           {path: jumbo(9000, 9000, false), state: search.Clean, bytes: 9000, packets: 1, within: time.Second},
		"S13b":                {path: jumbo(9000, 1500, false), state: search.Reduced, bytes: 1500, packets: 3, within: time.Second},
		"S13b black hole":     {path: jumbo(9000, 1500, true), state: search.BlackHole, bytes: 1500, packets: 60, within: 4 * time.Second},
		"loopback":            {path: jumbo(65536, 65536, false), state: search.Clean, bytes: 65535, packets: 1, within: time.Second},
		"loopback, 40001":     {path: jumbo(65536, 40001, true), state: search.BlackHole, bytes: 40001, packets: 110, within: 4 * time.Second},
		"S14c":                {path: netsim.Config{MTU: 576, PTB: hole}, state: search.BlackHole, bytes: 576, packets: 60, within: 3 * time.Second},
		"link shrank unseen":  {path: netsim.Config{Refuse: 1400}, state: search.Clean, bytes: 1400, packets: 1, within: time.Second, sizes: []int{1400}},
		"host refuses to try": {path: netsim.Config{Refuse: 20}, state: search.Inconclusive, packets: 0, within: time.Second},
		"late and duplicated": {
			path:  netsim.Config{MTU: 1400, PTB: hole, Delay: 900 * time.Millisecond, Jitter: 300 * time.Millisecond, Duplicates: 0.5},
			state: search.BlackHole, bytes: 1400, packets: 70, within: 30 * time.Second,
		},
		"slower than the first timeout": {path: netsim.Config{Delay: 1500 * time.Millisecond}, state: search.Clean, bytes: 1500, packets: 3, within: 3 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.path.Delay == 0 {
					tt.path.Delay = 20 * time.Millisecond
				}
				path := netsim.New(tt.path, 1)
				r := measure(t, collector(t, path, tt.method), collectorstest.Target(tt.v6))
				if r.State != tt.state || r.State.Conclusive() && r.Bytes != tt.bytes {
					t.Errorf("got %s %d, want %s %d (%s)", r.State, r.Bytes, tt.state, tt.bytes, r.Reason)
				}
				if sent := path.Sizes(); r.Packets != len(sent) || r.Packets > tt.packets {
					t.Errorf("%d packets counted, %d on the wire, want at most %d", r.Packets, len(sent), tt.packets)
				}
				if r.Duration > tt.within {
					t.Errorf("took %s, want at most %s", r.Duration, tt.within)
				}
				if tt.sizes != nil {
					if diff := cmp.Diff(tt.sizes, path.Sizes()); diff != "" {
						t.Errorf("sizes (-want +got):\n%s", diff)
					}
				}
				if r.State == search.Inconclusive && r.Reason == "" || r.State == search.Unreachable && r.Reason == "" {
					t.Error("no reason given")
				}
			})
		})
	}
}

func jumbo(link, mtu int, hole bool) netsim.Config {
	cfg := netsim.Config{MTU: mtu, ReverseMTU: mtu, PTB: netsim.PTBs{Drop: hole}}
	cfg.Route.LinkMTU = link
	return cfg
}

// A limiter that is slower than a burst's timeouts does not make a peer unreachable that was just
// heard.
func TestLoneControlsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := searchOnce(t, netsim.New(netsim.Config{
			MTU: 1400, Delay: 20 * time.Millisecond, PTB: netsim.PTBs{Drop: true}, Echoes: netsim.Limit{Every: 1500 * time.Millisecond},
		}, 1))
		if r.State == search.Unreachable || r.State.Conclusive() && r.Bytes != 1400 {
			t.Errorf("got %s %d", r.State, r.Bytes)
		}
	})
}

// A PTB that names a size which does not pass is followed once.
func TestLyingPTBIsFollowedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, PTB: says(1450)}, 1)
		r := searchOnce(t, path)
		tried := 0
		for _, size := range path.Sizes() {
			if size == 1451 {
				tried++
			}
		}
		if tried != 1 || r.Rejected[search.NoProgress] == 0 || r.Rejected[search.NotSmaller] == 0 {
			t.Errorf("1451 was tried %d times, rejected %v", tried, r.Rejected)
		}
	})
}

func TestUselessPTBsAreCounted(t *testing.T) {
	tests := map[string]struct {
		ptb    netsim.PTBs
		v6     bool
		reason search.Rejection
	}{
		"no size":           {ptb: says(0), reason: search.NoSize},
		"below minimum":     {ptb: says(60), reason: search.BelowMinimum},
		"below minimum, v6": {ptb: says(600), v6: true, reason: search.BelowMinimum},
		"not smaller":       {ptb: says(1500), reason: search.NotSmaller},
		"no progress":       {ptb: says(300), reason: search.NoProgress},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := measure(t, collector(t, netsim.New(netsim.Config{MTU: 1400, PTB: tt.ptb}, 1), collectors.ICMP), collectorstest.Target(tt.v6))
				if r.Rejected[tt.reason] == 0 || r.PTBRejected != r.Rejected[tt.reason] {
					t.Errorf("rejected %v, want %s only", r.Rejected, tt.reason)
				}
				if r.PTBReceived < r.PTBRejected {
					t.Errorf("received %d, rejected %d", r.PTBReceived, r.PTBRejected)
				}
				if r.PTBFrom != netsim.Router(tt.v6) {
					t.Errorf("PTB from %s, want %s", r.PTBFrom, netsim.Router(tt.v6))
				}
			})
		})
	}
}

// Every path MTU of an Ethernet link is found to the byte, whatever PTBs its routers send.
func TestEveryMTU(t *testing.T) {
	kinds := map[string]struct {
		ptb    netsim.PTBs
		state  search.State
		method collectors.Method
		v6     bool
		most   int
	}{
		"PTB":                {ptb: netsim.PTBs{}, state: search.Reduced, most: 3},
		"PTB, v6":            {ptb: netsim.PTBs{}, state: search.Reduced, most: 3, v6: true},
		"black hole":         {ptb: netsim.PTBs{Drop: true}, state: search.BlackHole, most: 60},
		"black hole, IKE":    {ptb: netsim.PTBs{Drop: true}, state: search.BlackHole, most: 60, method: collectors.IKE},
		"black hole, v6":     {ptb: netsim.PTBs{Drop: true}, state: search.BlackHole, most: 60, v6: true},
		"PTB without a size": {ptb: says(0), state: search.Reduced, most: 60},
	}
	for name, tt := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				least := 576
				if tt.v6 {
					least = 1280
				}
				most, slowest := 0, time.Duration(0)
				for mtu := least; mtu < 1500; mtu++ {
					path := netsim.New(netsim.Config{MTU: mtu, Delay: 20 * time.Millisecond, PTB: tt.ptb}, 1)
					r := measure(t, collector(t, path, tt.method), collectorstest.Target(tt.v6))
					if r.State != tt.state || r.Bytes != mtu {
						t.Errorf("got %s %d, want %s %d", r.State, r.Bytes, tt.state, mtu)
					}
					most, slowest = max(most, r.Packets), max(slowest, r.Duration)
				}
				if most > tt.most || slowest >= 3*time.Second {
					t.Errorf("up to %d packets and %s, want %d and less than 3s", most, slowest, tt.most)
				}
				t.Logf("at most %d packets, %s", most, slowest)
			})
		})
	}
}
