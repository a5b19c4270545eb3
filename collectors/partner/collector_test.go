package partner

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/session"
	"ipsec_path_exporter/internal/wire/stamp"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var us = netip.MustParseAddrPort("192.0.2.1:40000")

// A simulated path leads to a Reflector in memory.
type simulated struct {
	t         testing.TB
	reflector *session.Reflector
	receive   func(*netio.Datagram)

	mu sync.Mutex
	// there and back return whether a packet is lost, and its delay.
	there, back func() (lost bool, delay time.Duration)
	// mark changes the TOS of a packet there, and back.
	mark func(tos uint8, back bool) uint8
	// skew is how far the partner's clock is ahead.
	skew time.Duration
	lost [2]uint64
	// mtu is the path MTU there and back, 0 for none; link that of the partner's link.
	mtu      [2]int
	link     int
	requests int
	ssid     uint16
}

func (s *simulated) Send(_ context.Context, o *netio.Outgoing, account *netio.Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	request, _, _ := stamp.ParseTest(o.Payload, stamp.Authenticated)
	s.ssid = request.SSID
	if account != nil {
		account.Packets.Add(1)
	}
	if lost, delay := s.there(); lost || s.tooLarge(0, o.Payload) {
		s.lost[0]++
	} else {
		time.AfterFunc(delay, func() { s.reflect(o) })
	}
	return nil
}

func (*simulated) Close() {}

// tooLarge reports whether a payload does not pass in a direction.
func (s *simulated) tooLarge(direction int, payload []byte) bool {
	return s.mtu[direction] > 0 && len(payload)+28 > s.mtu[direction]
}

func (s *simulated) reflect(o *netio.Outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().Add(s.skew)
	d := &session.Datagram{Payload: o.Payload, From: us, At: now, TTL: 60, TOS: s.mark(o.TOS, false)}
	if s.link > 0 {
		d.Room = func() int { return s.link - 28 }
	}
	reply, ok := s.reflector.Handle(d, session.Clock{Error: time.Millisecond, Synchronized: true}, now)
	if !ok {
		return
	}
	lost, delay := s.back()
	if lost || s.tooLarge(1, reply.Payload) {
		s.lost[1]++
		return
	}
	tos := s.mark(reply.DSCP<<2, true)
	time.AfterFunc(delay, func() {
		s.receive(&netio.Datagram{Payload: reply.Payload, From: netip.AddrPortFrom(o.Path.Dst, o.Port), At: time.Now(), TTL: 60, TOS: tos})
	})
}

func key(tb testing.TB, text string) session.Key {
	tb.Helper()
	k, err := session.ParseKey([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// simulate makes a clean path of 8 ms there and 4 ms back to a partner with a key, and a Collector
// with the same one.
func simulate(tb testing.TB) (*simulated, *Collector) {
	tb.Helper()
	k := session.Keys{key(tb, "0123456789abcdef")}
	s := &simulated{
		t: tb, reflector: reflector(k),
		there: func() (bool, time.Duration) { return false, 8 * time.Millisecond },
		back:  func() (bool, time.Duration) { return false, 4 * time.Millisecond },
		mark:  func(tos uint8, _ bool) uint8 { return tos },
	}
	c := New(Options{
		Port: session.Port, Keys: func() (session.Keys, error) { return k, nil }, DSCP: 10,
		Clock: func() (time.Duration, bool) { return time.Millisecond, true },
		Hub: NewHub(func(receive func(*netio.Datagram)) (Endpoint, error) {
			s.receive = receive
			return s, nil
		}),
	})
	return s, c
}

func reflector(keys session.Keys) *session.Reflector {
	r := session.NewReflector(session.DefaultLimits())
	r.Set([]session.Partner{{Name: "a", Addr: us.Addr(), Keys: keys}}, session.DefaultLimits())
	return r
}

func measure(tb testing.TB, c *Collector) Result {
	tb.Helper()
	r, err := c.Measure(tb.Context(), collectorstest.Target(false))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := simulate(t)
		r := measure(t, c)
		if r.State != Up || r.Sent != Packets || r.Received != Packets || r.RoundTrip != 12*time.Millisecond || !r.OneWay {
			t.Errorf("%+v", r)
		}
		if d := r.There; !d.DelayKnown || d.Delay != 8*time.Millisecond || d.Error < 2*time.Millisecond || !d.Varies || d.Variation != 0 || !d.Marked || d.Sent != 10 || d.DSCP != 10 {
			t.Errorf("there %+v", d)
		}
		if d := r.Back; !d.DelayKnown || d.Delay != 4*time.Millisecond || !d.Marked || d.DSCP != 10 {
			t.Errorf("back %+v", d)
		}
		if s.requests != Packets+1 || r.Counts.Received != Packets {
			t.Errorf("%d packets sent, %+v", s.requests, r.Counts)
		}
	})
}

// TestExpose: unknown is no series, and a result that is too old is none.
func TestExpose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := simulate(t)
		scope := collectorstest.OfPeer()
		e := NewExposer(c, scope, 30*time.Second)
		values := func() map[string]float64 { scope.Expose(e, time.Now()); return scope.Values() }
		if diff := gocmp.Diff(map[string]float64{"partner_requests_total": 0, "partner_replies_total": 0}, values()); diff != "" {
			t.Errorf("before the first round (-want +got):\n%s", diff)
		}
		s.mu.Lock()
		s.mark = func(uint8, bool) uint8 { return 0 }
		s.mu.Unlock()
		measure(t, c)
		counters := map[string]float64{
			"partner_requests_total": 10, "partner_replies_total": 10,
			"partner_packets_lost_total forward": 0, "partner_packets_lost_total reverse": 0,
			"partner_reordered_total forward": 0, "partner_reordered_total reverse": 0,
			"partner_duplicates_total forward": 0, "partner_duplicates_total reverse": 0,
		}
		want := maps.Clone(counters)
		maps.Copy(want, map[string]float64{
			"partner_up": 1, "partner_state up": 1, "partner_round_trip_seconds": 0.012,
			"partner_delay_seconds forward": 0.008, "partner_delay_seconds reverse": 0.004,
			"partner_delay_variation_seconds forward": 0, "partner_delay_variation_seconds reverse": 0,
			"partner_dscp forward 10 0": 1, "partner_dscp reverse 10 0": 1,
		})
		if diff := gocmp.Diff(want, values()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		time.Sleep(91 * time.Second)
		if diff := gocmp.Diff(counters, values()); diff != "" {
			t.Errorf("after three intervals (-want +got):\n%s", diff)
		}
		s.mu.Lock()
		s.there = func() (bool, time.Duration) { return true, 0 }
		s.mu.Unlock()
		measure(t, c)
		counters["partner_requests_total"], counters["partner_up"], counters["partner_state silent"] = 20, 0, 1
		if diff := gocmp.Diff(counters, values()); diff != "" {
			t.Errorf("silent (-want +got):\n%s", diff)
		}
	})
}

// TestDirections: a fault of one direction is shown there, and nowhere else.
func TestDirections(t *testing.T) {
	for name, tt := range map[string]struct {
		fault func(s *simulated)
		wrong func(r *Result) bool
	}{
		"loss there": {
			func(s *simulated) {
				n := 0
				s.there = func() (bool, time.Duration) { n++; return n%4 == 2, time.Millisecond }
			},
			func(r *Result) bool { return r.Counts.LostThere < 40 || r.Counts.LostBack != 0 },
		},
		"loss back": {
			func(s *simulated) {
				n := 0
				s.back = func() (bool, time.Duration) { n++; return n%4 == 2, time.Millisecond }
			},
			func(r *Result) bool { return r.Counts.LostBack < 40 || r.Counts.LostThere != 0 },
		},
		"DSCP lost there": {
			func(s *simulated) {
				s.mark = func(tos uint8, back bool) uint8 {
					if back {
						return tos
					}
					return 0
				}
			},
			func(r *Result) bool { return r.There.DSCP != 0 || r.Back.DSCP != 10 },
		},
		"DSCP changed back": {
			func(s *simulated) {
				s.mark = func(tos uint8, back bool) uint8 {
					if back && tos != 0 {
						return 8 << 2
					}
					return tos
				}
			},
			func(r *Result) bool { return r.There.DSCP != 10 || r.Back.DSCP != 8 },
		},
		"delay varies back": {
			func(s *simulated) {
				n := 0
				s.back = func() (bool, time.Duration) { n++; return false, time.Duration(n%2) * 10 * time.Millisecond }
			},
			func(r *Result) bool { return r.Back.Variation != 10*time.Millisecond || r.There.Variation != 0 },
		},
		"order changed there": {
			func(s *simulated) {
				n := 0
				s.there = func() (bool, time.Duration) { n++; return false, time.Duration(n%5/4) * 30 * time.Millisecond }
			},
			func(r *Result) bool {
				return r.Counts.ReorderedThere < 15 || r.Counts.ReorderedBack != 0 || r.Counts.LostThere+r.Counts.LostBack != 0
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := simulate(t)
				measure(t, c)
				s.mu.Lock()
				tt.fault(s)
				s.mu.Unlock()
				var r Result
				for range 20 {
					r = measure(t, c)
				}
				if r.State != Up || tt.wrong(&r) {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// TestNoFalseVerdict: 500 runs with 20 % loss each way. The partner is never called anything but up,
// what is counted is what was lost, to the packet, and nothing is seen that is not there.
func TestNoFalseVerdict(t *testing.T) {
	for run := range 500 {
		synctest.Test(t, func(t *testing.T) {
			s, c := simulate(t)
			measure(t, c) // establishes
			rng := rand.New(rand.NewPCG(7, uint64(run)))
			s.mu.Lock()
			s.there = func() (bool, time.Duration) {
				return rng.Float64() < 0.2, time.Duration(8+rng.IntN(3)) * time.Millisecond
			}
			s.back = func() (bool, time.Duration) {
				return rng.Float64() < 0.2, time.Duration(4+rng.IntN(3)) * time.Millisecond
			}
			s.mu.Unlock()
			for range 8 {
				if r := measure(t, c); r.State != Up || r.There.Marked && r.There.DSCP != 10 || r.Back.Marked && r.Back.DSCP != 10 {
					t.Fatalf("run %d: %+v", run, r)
				}
			}
			s.mu.Lock()
			s.there = func() (bool, time.Duration) { return false, time.Millisecond }
			s.back = s.there
			s.mu.Unlock()
			r := measure(t, c) // shows what was lost before it
			if r.Counts.LostThere != s.lost[0] || r.Counts.LostBack != s.lost[1] || r.Counts.ReorderedThere+r.Counts.ReorderedBack+r.Counts.DuplicatesThere+r.Counts.DuplicatesBack != 0 {
				t.Errorf("run %d: lost %v, counted %+v", run, s.lost, r.Counts)
			}
		})
	}
}

// TestStates: what is wrong with the partner is its state, and no loss.
func TestStates(t *testing.T) {
	other := session.Keys{key(t, "another key, as long")}
	for name, tt := range map[string]struct {
		fault func(s *simulated, c *Collector)
		want  State
	}{
		"silent":     {func(s *simulated, _ *Collector) { s.there = func() (bool, time.Duration) { return true, 0 } }, Silent},
		"wrong key":  {func(s *simulated, _ *Collector) { s.reflector = reflector(other) }, WrongKey},
		"skewed":     {func(s *simulated, _ *Collector) { s.skew = time.Hour }, ClockSkewed},
		"restarted":  {func(s *simulated, c *Collector) { k, _ := c.opts.Keys(); s.reflector = reflector(k) }, Restarted},
		"no partner": {func(s *simulated, _ *Collector) { s.reflector = session.NewReflector(session.DefaultLimits()) }, Silent},
		"superseded": {supersede, Superseded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := simulate(t)
				before := measure(t, c)
				time.Sleep(time.Second)
				s.mu.Lock()
				tt.fault(s, c)
				s.mu.Unlock()
				r := measure(t, c)
				s.mu.Lock() // it comes back
				k, _ := c.opts.Keys()
				s.reflector, s.skew, s.there = reflector(k), 0, s.back
				s.mu.Unlock()
				measure(t, c)
				if again := measure(t, c); again.State != Up || again.Counts.LostThere+again.Counts.LostBack != 0 {
					t.Errorf("afterwards: %+v", again)
				}
				if r.State != tt.want || (r.Reason == "") != (r.State == Up) || r.Counts.LostThere+r.Counts.LostBack != 0 || r.Counts.Received < before.Counts.Received {
					t.Errorf("%v (%q): %+v", r.State, r.Reason, r)
				}
			})
		})
	}
}

// supersede has a sender with the number of c that began later measure with the partner.
func supersede(s *simulated, c *Collector) {
	keys, _ := c.opts.Keys()
	later := session.NewSender(keys, s.ssid, time.Now().Add(time.Minute))
	for range 2 {
		payload, _ := later.Next(session.Request{}, session.Clock{}, time.Now())
		reply, _ := s.reflector.Handle(&session.Datagram{Payload: payload, From: us}, session.Clock{}, time.Now())
		later.Receive(reply.Payload, time.Now())
	}
}

// TestLocalDrops: what a full buffer of this host loses is no loss of the path.
func TestLocalDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := simulate(t)
		measure(t, c)
		var replies atomic.Uint32
		receive := s.receive
		s.mu.Lock()
		s.receive = func(d *netio.Datagram) {
			n := replies.Add(1)
			if n%3 == 0 {
				return // lost in the buffer, as the next one says
			}
			d.Drops = n / 3
			receive(d)
		}
		s.mu.Unlock()
		for range 5 {
			r := measure(t, c)
			if r.State != Up && r.State != Restarted || r.Counts.LostThere+r.Counts.LostBack != 0 {
				t.Errorf("%+v", r)
			}
		}
		if n := replies.Load(); n < 40 {
			t.Errorf("%d replies", n)
		}
	})
}

// TestStandstill: while the program stands still, replies wait to be read, so that a wait for them goes
// on afterwards.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := simulate(t)
		measure(t, c)
		c.round.arrived = make(chan struct{}, 1)
		asked := 0
		err := c.await(t.Context(), func() bool {
			if asked++; asked == 1 {
				time.Sleep(3 * patience)
				time.AfterFunc(time.Millisecond, func() { c.round.arrived <- struct{}{} })
			}
			return asked == 2
		})
		if err != nil || asked != 2 {
			t.Errorf("asked %d times: %v", asked, err)
		}
		began := time.Now()
		if err := c.await(t.Context(), func() bool { return false }); err != nil || time.Since(began) != patience {
			t.Errorf("without a standstill: %v, %v", time.Since(began), err)
		}
	})
}

// TestNoKey: a key that cannot be read is a state, and an error that does not show the key.
func TestNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := simulate(t)
		before := measure(t, c)
		missing := errors.New("no such file")
		c.opts.Keys = func() (session.Keys, error) { return nil, missing }
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); !errors.Is(err, missing) {
			t.Errorf("%v", err)
		}
		if r := c.Result(); r.State != NoKey || r.Counts != before.Counts || !r.OneWay {
			t.Errorf("%+v", r)
		}
	})
}

// TestAnotherTarget: results of one address are not shown for another.
func TestAnotherTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := simulate(t)
		measure(t, c)
		other := collectorstest.Target(false)
		other.Path.Dst = netip.MustParseAddr("203.0.113.99")
		c.SetTarget(other)
		if r := c.Result(); r != (Result{}) {
			t.Errorf("%+v", r)
		}
	})
}

func TestStateNames(t *testing.T) {
	var names []string
	for _, s := range States() {
		if (s.reason() == "") != (s == Up) {
			t.Errorf("%v: %q", s, s.reason())
		}
		names = append(names, s.String())
	}
	if want := []string{"up", "restarted", "silent", "wrong_key", "clock_skewed", "other_version", "superseded", "busy", "no_key"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
}
