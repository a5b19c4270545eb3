package pmtu

import (
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

// TestSilentPeerIsNotSearched: a method whose packets were not answered lately is unreachable without
// a search, as of the newest of these packets. If no other collector asks, a search does so itself.
func TestSilentPeerIsNotSearched(t *testing.T) {
	for name, tt := range map[string]struct {
		method   collectors.Method
		answered bool
		asked    int
		wait     time.Duration
		state    search.State
		packets  int // at most
	}{
		"echo is silent":                {collectors.ICMP, true, 5, 10 * time.Second, search.Unreachable, 0},
		"echo, and no one asks":         {collectors.ICMP, true, 5, 5 * time.Minute, search.Unreachable, 3},
		"few echoes are unanswered":     {collectors.ICMP, true, 4, 10 * time.Second, search.Unreachable, 5},
		"echo was never asked":          {collectors.ICMP, false, 0, 0, search.Unreachable, 3},
		"IKE is silent":                 {collectors.IKE, true, 5, 10 * time.Second, search.Unreachable, 0},
		"IKE was never answered":        {collectors.IKE, false, 1, 10 * time.Second, search.Unreachable, 0},
		"IKE was answered, then silent": {collectors.IKE, true, 0, 10 * time.Second, search.Unreachable, 11},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				record := silence.New()
				path := netsim.New(netsim.Config{Silence: record, Block: func(*netio.Packet) bool { return true }}, 1)
				c := collector(t, path, tt.method)
				c.opts.Silence, c.target = record, collectors.Share(collectorstest.Target(false))
				lane := c.lane(tt.method)
				if tt.answered {
					charge, _ := record.Admit(lane, time.Now(), silence.Probe{Packets: 1, Plain: true})
					record.Answered(charge, time.Now())
				}
				for range tt.asked {
					_, _ = record.Admit(lane, time.Now(), silence.Probe{Packets: 1, Plain: true})
				}
				asked := time.Now()
				time.Sleep(tt.wait)
				r := measure(t, c, collectorstest.Target(false))
				if r.State != tt.state || len(path.Sent()) > tt.packets || tt.packets > 0 && len(path.Sent()) == 0 {
					t.Errorf("%s after %d packets: %s", r.State, len(path.Sent()), r.Reason)
				}
				if tt.packets == 0 && tt.answered && !r.At.Equal(asked) {
					t.Errorf("it is of %v after the last packet", r.At.Sub(asked))
				}
			})
		})
	}
}

// TestMuteEchoDoesNotPutOffIKE: echo requests that the peer always drops are no sign that it has just
// gone silent, even where some were sent since its last message of IKE: at most one search is put off.
func TestMuteEchoDoesNotPutOffIKE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := silence.New()
		path := netsim.New(netsim.Config{Silence: record}, 1)
		c := collector(t, path, collectors.IKE)
		c.opts.Silence, c.target = record, collectors.Share(collectorstest.Target(false))
		lane, echo := c.lane(collectors.IKE), c.lane(collectors.ICMP)
		const every = time.Minute
		for round := range 6 {
			charge, _ := record.Admit(lane, time.Now(), silence.Probe{Packets: 1, Plain: true})
			record.Answered(charge, time.Now())
			for range 3 {
				time.Sleep(5 * time.Second)
				_, _ = record.Admit(echo, time.Now(), silence.Probe{Packets: 1, Plain: true})
			}
			r := measure(t, c, collectorstest.Target(false))
			if age := time.Since(r.At); r.State != search.Clean || age > every+10*time.Second {
				t.Errorf("round %d: %s of %v ago (%s)", round, r.State, age, r.Reason)
			}
			time.Sleep(every - 15*time.Second)
		}
	})
}
