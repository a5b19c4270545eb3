package suite_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/schedule"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
	"ipsec_path_exporter/internal/silence"
)

// A site is peers of one address, measured on a schedule as the exporter does.
type site struct {
	t        *testing.T
	path     *netsim.Path
	record   *silence.Record
	schedule *schedule.Scheduler
	targets  []collectors.Target
	peers    []*suite.Collectors
}

func newSite(t *testing.T, path *netsim.Path, v6 bool, devices ...string) *site {
	t.Helper()
	s := &site{t: t, path: path, record: silence.New(), schedule: schedule.New(schedule.Config{MaxFirst: time.Second})}
	path.Set(func(c *netsim.Config) { c.Silence = s.record })
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	accounts := &suite.Accounts{}
	enabled := suite.DefaultSet().With(suite.Protocols)
	for i, device := range devices {
		target := collectorstest.Target(v6)
		target.Peer, target.Path.Interface = string(rune('a'+i)), device
		p := suite.New(t.Context(), target, &suite.Deps{
			Network: path, Echoes: icmp.NewShared(path, &accounts[suite.ICMP]), Router: path, Silence: s.record, Keys: keys,
			Accounts: accounts, Enabled: enabled, Every: suite.DefaultIntervals(), Raise: 10 * time.Minute,
			Methods: collectors.Methods(), Locate: true, Done: func(c suite.Collector, _ string) { s.ended(i, c) },
		})
		s.targets, s.peers = append(s.targets, target), append(s.peers, p)
	}
	for i := range s.peers {
		s.add(i, enabled)
	}
	return s
}

func (s *site) add(i int, enabled suite.Set) {
	every := suite.DefaultIntervals()
	for c := range enabled.All() {
		if tick := s.peers[i].Tick(c); tick != nil {
			s.schedule.AddEvent(s.key(i, c), every[c], tick)
			continue
		}
		s.schedule.AddTask(s.key(i, c), every[c], every[c], func(ctx context.Context) bool {
			_, _ = s.peers[i].Measure(ctx, c, s.targets[i])
			return false
		})
	}
}

func (s *site) key(i int, c suite.Collector) schedule.Key {
	return schedule.Key{Peer: s.targets[i].Peer, Collector: c.String()}
}

// ended asks for the rounds that confirm a silence, which is news for two rounds.
func (s *site) ended(i int, c suite.Collector) {
	if s.record.Woken(s.targets[0].Path.Dst) {
		for j := range s.peers {
			s.schedule.Now(s.key(j, suite.ICMP))
			s.schedule.Now(s.key(j, suite.IKE))
		}
	}
	if c != suite.IKE {
		return
	}
	now := time.Now()
	r := s.peers[i].FindingsOf(suite.NewSet(suite.IKE), now).IKE
	if r.IKE.State == ike.Silent {
		if now.Sub(s.peers[i].FindingsOf(suite.NewSet(suite.Flows), now).Flows.At) > time.Minute {
			s.schedule.Now(s.key(i, suite.Flows)) // before anything is called silent
		}
		s.schedule.Now(s.key(i, suite.IKE))
		s.schedule.Now(s.key(i, suite.PMTU))
	}
	for w := range s.peers[i].Waiting(now).All() {
		s.schedule.Now(s.key(i, w))
	}
}

// arrived returns when packets of these protocols came to the peer, without those whose TTL ran out
// before it, and forgets them.
func (s *site) arrived(since time.Duration, protocols ...netio.Protocol) (times []time.Duration) {
	for _, p := range s.path.Sent() {
		if p.At < since || p.TTL > 0 && int(p.TTL) <= len(hops) || !slices.Contains(protocols, p.Protocol) {
			continue
		}
		n := 1
		if p.Fragment > 0 {
			n = (p.Size + p.Fragment - 1) / p.Fragment
		}
		times = append(times, slices.Repeat([]time.Duration{p.At}, n)...)
	}
	return times
}

var hops = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}

// most is the largest number of times within any 300 s, gap the longest time between two of them.
func most(times []time.Duration) (n int, gap time.Duration) {
	first := 0
	for i, at := range times {
		if i > 0 {
			gap = max(gap, at-times[i-1])
		}
		for at-times[first] >= 300*time.Second {
			first++
		}
		n = max(n, i-first+1)
	}
	return n, gap
}

// TestSilence: fewer than 60 packets in 300 s go to an address that stays silent, or to the kind of
// packet that it does not answer, from all of its peers. What is known of it stays known, the
// schedule is not late, and its first answer brings back the full pace.
func TestSilence(t *testing.T) {
	all := []netio.Protocol{netio.Echo, netio.UDP, netio.ESP, netio.AH}
	for name, tt := range map[string]struct {
		silent   []netio.Protocol
		answered time.Duration // before it goes silent
		v6       bool
		devices  []string
	}{
		"silent from the start":          {silent: all, devices: []string{""}},
		"silent, IPv6":                   {silent: all, v6: true, devices: []string{""}},
		"goes silent":                    {silent: all, answered: 10 * time.Minute, devices: []string{""}},
		"goes silent in a round":         {silent: all, answered: 10*time.Minute + 500*time.Millisecond, devices: []string{""}},
		"UDP silent":                     {silent: all[1:], devices: []string{""}},
		"UDP goes silent":                {silent: all[1:], answered: 10 * time.Minute, devices: []string{""}},
		"echo goes silent":               {silent: all[:1], answered: 10 * time.Minute, devices: []string{""}},
		"two interfaces":                 {silent: all, answered: 10 * time.Minute, devices: []string{"wan1", "wan2"}},
		"three peers, two by one device": {silent: all, devices: []string{"wan1", "wan2", "wan2"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { goSilent(t, tt.silent, tt.answered, tt.v6, tt.devices) })
		})
	}
}

func goSilent(t *testing.T, silent []netio.Protocol, answered time.Duration, v6 bool, devices []string) {
	t.Helper()
	began := time.Now()
	path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Hops: hops, BlockBehind: len(hops)}, 1)
	s := newSite(t, path, v6, devices...)
	block := func() {
		path.Set(func(c *netsim.Config) {
			c.Block = func(p *netio.Packet) bool { return slices.Contains(silent, p.Protocol) }
		})
	}
	if answered == 0 {
		block()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.schedule.Run(ctx) }()
	defer func() { cancel(); <-done; time.Sleep(5 * time.Minute) }()
	time.Sleep(answered)
	block()
	since := time.Since(began)
	// Peers by different ways share the packets of the address, but not what they show: the second way
	// is known to be silent after 20 to 30 min.
	time.Sleep(time.Duration(len(devices)) * 15 * time.Minute)
	for range 900 { // what is known is known all the time
		time.Sleep(5 * time.Second)
		s.knows(silent)
	}
	times := s.arrived(since, silent...)
	n, gap := most(times)
	t.Logf("%d packets, at most %d in 300 s, %v apart", len(times), n, gap)
	if n >= 60 || gap > silence.SlowPace+time.Second {
		t.Errorf("%d packets in 300 s, up to %v apart", n, gap)
	}
	t.Logf("%d probes were withheld", s.record.Withheld())
	path.Set(func(c *netsim.Config) { c.Block = nil })
	path.Forget()
	time.Sleep(2 * time.Minute)
	s.recovered()
}

// knows checks that the silence is known, and that no one takes the slow pace for overload.
func (s *site) knows(silent []netio.Protocol) {
	s.t.Helper()
	now := time.Now()
	for i, p := range s.peers {
		f := p.Findings(now)
		fresh := f.Fresh(now, suite.DefaultIntervals())
		if slices.Contains(silent, netio.Echo) && f.ICMP.State != icmp.Silent {
			s.t.Fatalf("peer %d: echo %v of %v ago: %s; pause %v", i, f.ICMP.State, now.Sub(f.ICMP.At), f.ICMP.Reason, p.Backoff(suite.ICMP))
		}
		if slices.Contains(silent, netio.UDP) && (f.IKE.IKE.State != ike.Silent || f.IKE.NATT.State != ike.Silent) {
			s.t.Fatalf("peer %d: IKE %v, %v: %s", i, f.IKE.IKE.State, f.IKE.NATT.State, f.IKE.IKE.Reason)
		}
		if len(fresh.PMTU.Results) != len(collectors.Methods()) {
			s.t.Fatalf("peer %d: %d fresh results of path MTU: %+v", i, len(fresh.PMTU.Results), f.PMTU.Results)
		}
		if n := s.schedule.Overdue(s.targets[i].Peer); n > 0 {
			s.t.Fatalf("peer %d: %d collectors are overdue", i, n)
		}
	}
	if lag := s.schedule.Lag(); lag > time.Second {
		s.t.Fatalf("the schedule is %v late", lag)
	}
}

// recovered checks that all is measured at full pace again.
func (s *site) recovered() {
	s.t.Helper()
	now := time.Now()
	for i, p := range s.peers {
		f := p.Findings(now)
		if f.ICMP.State != icmp.Reachable || f.IKE.IKE.State != ike.Responding || f.IKE.NATT.State != ike.Responding || !f.PMTU.Known {
			s.t.Errorf("peer %d two minutes after the silence: echo %v, IKE %v, %v, path MTU known: %v",
				i, f.ICMP.State, f.IKE.IKE.State, f.IKE.NATT.State, f.PMTU.Known)
		}
		for c := range suite.DefaultSet().All() {
			if pause := p.Backoff(c); pause > 0 {
				s.t.Errorf("peer %d: %v still pauses for %v", i, c, pause)
			}
		}
	}
	s.path.Forget()
	time.Sleep(time.Minute)
	if n := len(s.arrived(0, netio.Echo)); n < 11*len(s.peers) {
		s.t.Errorf("%d echoes in a minute", n)
	}
}
