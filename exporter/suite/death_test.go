package suite_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// judges draw the diagnoses of the peers of a site after each round, and ask for the rounds that
// confirm them.
type judges struct {
	*site
	mu   sync.Mutex
	each []judged
}

type judged struct {
	tracker  diagnosis.Tracker
	memory   diagnosis.Memory
	compared time.Time
	silent   time.Time // when peer_silent was raised
	others   []string  // what else was
}

func (j *judges) judge(i int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p, now, s := &j.each[i], time.Now(), j.site
	f := s.peers[i].Findings(now).Fresh(now, suite.DefaultIntervals())
	p.memory.Note(&f)
	facts := diagnosis.Facts{Findings: f, Memory: p.memory, Address: s.targets[i].Path.Dst}
	changed, again := p.tracker.Update(now, diagnosis.Evaluate(facts))
	for _, c := range changed {
		switch {
		case c.On && c.Name == diagnosis.PeerSilent:
			p.silent = now
		case c.On:
			p.others = append(p.others, c.Name)
		}
	}
	var wanted suite.Set
	if again {
		wanted = diagnosis.Confirming(p.tracker.Pending())
	}
	if facts.Uncompared() && now.Sub(p.compared) > 30*time.Second {
		p.compared, wanted = now, wanted.With(suite.Flows)
	}
	wanted = wanted.Without(suite.Protocols)
	if facts.Doubtful() && s.record.Spoke(netio.Lane(s.targets[i].Path, netio.Echo, 0), now) {
		wanted = wanted.With(suite.Protocols)
	}
	for c := range wanted.All() {
		s.schedule.Now(s.key(i, c))
	}
}

// TestDeathIsNoticed: a peer that dies is found silent in good time, however many peers have its
// address; none is called healthy once it is known not to answer, and no more is sent than may be.
func TestDeathIsNoticed(t *testing.T) {
	for name, tt := range map[string]struct {
		peers  int
		v6     bool
		within time.Duration
	}{
		"one peer":       {1, false, time.Minute},
		"one peer, IPv6": {1, true, time.Minute},
		"three peers":    {3, false, 2 * time.Minute},
		"ten peers":      {10, false, 20 * time.Minute},
	} {
		for _, after := range []time.Duration{0, 300, 307, 313, 319, 324} {
			var slow time.Duration
			if after == 0 { // every form of IKE is tried first
				slow = 10 * time.Minute
			}
			t.Run(name+" after "+strconv.Itoa(int(after))+" s", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { die(t, tt.peers, tt.v6, after*time.Second, max(tt.within, slow)) })
			})
		}
	}
}

func die(t *testing.T, peers int, v6 bool, after, within time.Duration) {
	t.Helper()
	began := time.Now()
	path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Hops: hops, BlockBehind: len(hops)}, 1)
	j := &judges{each: make([]judged, peers)}
	j.site = newSite(t, path, v6, slices.Repeat([]string{""}, peers)...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = j.schedule.Run(ctx) }()
	defer func() { cancel(); <-done; time.Sleep(5 * time.Minute) }()
	step := func(until time.Duration) {
		for time.Since(began) < until {
			time.Sleep(time.Second)
			for i := range j.each {
				j.judge(i)
			}
		}
	}
	step(after)
	path.Set(func(c *netsim.Config) { c.Block = func(*netio.Packet) bool { return true } })
	step(after + within)
	for i := range j.each {
		p := &j.each[i]
		if p.silent.IsZero() {
			t.Errorf("peer %d is not called silent after %v, but %v, %v pending", i, within, p.others, p.tracker.Pending())
		} else if i == 0 {
			t.Logf("silent after %v", p.silent.Sub(began)-after)
		}
		if len(p.others) > 0 {
			t.Errorf("peer %d: %v", i, p.others)
		}
		if healthy, known := p.tracker.Healthy(); healthy && known && !p.silent.IsZero() {
			t.Errorf("peer %d is healthy after %v", i, within)
		}
	}
	step(after + within + 5*time.Minute)
	n, _ := most(j.arrived(after, netio.Echo, netio.UDP, netio.ESP, netio.AH))
	if t.Logf("%d packets in 300 s", n); n >= 60 {
		t.Errorf("%d packets in 300 s", n)
	}
}
