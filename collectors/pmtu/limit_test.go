package pmtu

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/netsim"
)

// answersUpTo is a responder that takes datagrams up to a size.
func answersUpTo(bytes int) func(uint16, []byte) []byte {
	all := netsim.Responder()
	return func(port uint16, payload []byte) []byte {
		if len(payload) > bytes {
			return nil
		}
		return all(port, payload)
	}
}

// largerThan drops the larger packets to some UDP ports.
func largerThan(bytes int, ports ...uint16) func(p *netio.Packet) bool {
	return func(p *netio.Packet) bool {
		for _, port := range ports {
			if p.Protocol == netio.UDP && p.Port == port && p.WireSize() > bytes {
				return true
			}
		}
		return false
	}
}

// TestWhoseLimit: a size limit that echoes or the other IKE port do not have is not that of a link.
func TestWhoseLimit(t *testing.T) {
	hops := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}
	const port500, port4500 = "a filter or policer of UDP port 500 by size", "a filter or policer of UDP port 4500 by size"
	inconclusive, clean, hole := search.Inconclusive, search.Clean, search.BlackHole
	for name, tt := range map[string]struct {
		path   netsim.Config
		states [3]search.State
		notes  [3]string // by method: part of the note, or of the reason
		held   bool
	}{
		"responder takes 1280 octets": {
			netsim.Config{Respond: answersUpTo(1280)},
			[3]search.State{clean, inconclusive, inconclusive},
			[3]string{"", "the peer itself may refuse IKE messages of more than 1280 octets", "may refuse IKE messages"},
			false,
		},
		"responder takes 1280 octets and the marker": {
			netsim.Config{Respond: func(port uint16, payload []byte) []byte {
				if port == 4500 {
					return answersUpTo(1284)(port, payload)
				}
				return answersUpTo(1280)(port, payload)
			}}, [3]search.State{clean, inconclusive, inconclusive}, [3]string{"", "may refuse IKE messages", "may refuse IKE messages"}, false,
		},
		"responder takes less than it must": {
			netsim.Config{Respond: answersUpTo(1000)}, [3]search.State{clean, hole, hole}, [3]string{"", "of IKE by size", "of IKE by size"}, true,
		},
		"filter of one port": {
			netsim.Config{Block: largerThan(1400, 4500), BlockBehind: 1}, [3]search.State{clean, clean, hole}, [3]string{2: port4500}, true,
		},
		"filter of the other port, ICMP dropped": {
			netsim.Config{Block: largerThan(1400, 500), BlockBehind: 1, DropICMP: true},
			[3]search.State{search.Unreachable, hole, clean},
			[3]string{1: port500},
			true,
		},
		"filter of both ports": {
			netsim.Config{Block: largerThan(1400, 500, 4500), BlockBehind: 1},
			[3]search.State{clean, hole, hole},
			[3]string{"", "of IKE by size", "of IKE by size"},
			true,
		},
		"no router answers": {
			netsim.Config{Block: largerThan(1400, 500, 4500), BlockBehind: 1, Quiet: func(int, *netio.Packet) bool { return true }},
			[3]search.State{clean, inconclusive, inconclusive},
			[3]string{"", "the peer itself may refuse", "the peer itself may refuse"},
			false,
		},
		"a link": {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}}, [3]search.State{hole, hole, hole}, [3]string{}, true},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %t", name, v6), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tt.path.Hops, tt.path.Delay = hops, 20*time.Millisecond
					c := collector(t, netsim.New(tt.path, 1))
					c.opts.Locate = true
					for range 3 {
						if _, err := c.Measure(t.Context(), collectorstest.Target(v6)); err != nil {
							t.Fatal(err)
						}
						s := c.Snapshot()
						for _, r := range s.Results {
							if strings.Count(r.Note, "larger packets") > 1 {
								t.Errorf("%s: note %q", r.Method, r.Note)
							}
							if want := tt.notes[r.Method]; r.State != tt.states[r.Method] || !strings.Contains(r.Note+r.Reason, want) || want == "" && r.Note != "" {
								t.Errorf("%s: %s %d (%s) %q", r.Method, r.State, r.Bytes, r.Reason, r.Note)
							}
						}
						if s.BlackHole != tt.held {
							t.Errorf("black hole held: %t", s.BlackHole)
						}
						time.Sleep(time.Minute)
					}
				})
			})
		}
	}
}

// TestOldRoundsAreNoWitness: while a link gets smaller, what passed by other methods in the round before
// does not make its black hole that of a port.
func TestOldRoundsAreNoWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		narrow := false
		path := netsim.Config{
			Hops: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")}, Delay: 20 * time.Millisecond, BlockBehind: 1,
			Block: func(p *netio.Packet) bool { return narrow && p.WireSize() > 1400 },
		}
		c := collector(t, netsim.New(path, 1))
		c.opts.Locate = true
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
			t.Fatal(err)
		}
		narrow = true
		for time.Sleep(time.Minute); !c.Snapshot().BlackHole; {
			short, cancel := context.WithTimeout(t.Context(), 4*time.Second) // for one method
			_, err := c.Measure(short, collectorstest.Target(false))
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			for _, r := range c.Snapshot().Results {
				if len(r.LargerBy) > 0 || r.Note != "" {
					t.Errorf("%s: %s %d, larger by %v: %s", r.Method, r.State, r.Bytes, r.LargerBy, r.Note)
				}
			}
		}
		time.Sleep(time.Minute)
		all, err := c.Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all.Results {
			if r.State != search.BlackHole || r.Bytes != 1400 || len(r.LargerBy) > 0 {
				t.Errorf("%s: %s %d, larger by %v", r.Method, r.State, r.Bytes, r.LargerBy)
			}
		}
	})
}

// TestResponderLimitInTheLab: a gateway that takes datagrams of 1280 bytes only, on a clean path.
func TestResponderLimitInTheLab(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	b.gateway.Set(responder.Behaviour{Largest: 1280})
	for _, v6 := range []bool{false, true} {
		c := New(b.stack, Options{Keys: b.keys, Locate: true})
		measureOnce(t, c, b.target(v6))
		for _, r := range c.Snapshot().Results {
			want := search.Inconclusive
			if r.Method == collectors.ICMP {
				want = search.Clean
			}
			if r.State != want {
				t.Errorf("v6 %t %s: %s %d (%s)", v6, r.Method, r.State, r.Bytes, r.Reason)
			}
		}
	}
}

// TestLossIsNoLimit: loss does not look like the limit of one method.
func TestLossIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(200) {
			c := collector(t, netsim.New(lossy(netsim.Config{Hops: []netip.Addr{netsim.Router(false)}}), seed))
			c.opts.Locate, c.opts.Seed = true, seed+1
			got, err := c.Measure(t.Context(), collectorstest.Target(seed%2 == 0))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range got.Results {
				if r.State == search.BlackHole || r.Note != "" || strings.Contains(r.Reason, "refuse") {
					t.Errorf("seed %d, %s: %s %d (%s) %q", seed, r.Method, r.State, r.Bytes, r.Reason, r.Note)
				}
			}
		}
	})
}
