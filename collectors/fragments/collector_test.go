package fragments

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// collector makes a Collector for a peer that is known to answer the first form.
func collector(t *testing.T, network collectors.Network) *Collector {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	dialects := make(map[collectors.Method]*ikeprobe.Dialect)
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		dialects[m] = ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK)
		dialects[m].Confirm(ikeprobe.V2BadKE)
	}
	return New(network, Options{Keys: keys, Dialects: dialects})
}

// upTo is a responder that takes messages up to a size only.
func upTo(size int) func(uint16, []byte) []byte {
	all := netsim.Responder()
	return func(port uint16, payload []byte) []byte {
		if len(payload) > size {
			return nil
		}
		return all(port, payload)
	}
}

func TestMeasure(t *testing.T) {
	pass := Result{State: Pass, Large: 1600, LargeAnswered: true, Long: Pass, LongSize: 3000, LongPieces: 3, LastFirst: Pass}
	dropped := Result{State: Dropped, Large: 1600, Size: 1200, Piece: 1000, Sent: 18, Controls: 18, ControlsAnswered: 18}
	tests := map[string]struct {
		cfg  netsim.Config
		want Result
	}{
		"clean":            {netsim.Config{}, pass},
		"dropped":          {netsim.Config{DropFragments: true}, dropped},
		"all ICMP dropped": {netsim.Config{DropICMP: true}, pass},
		"large is refused by the responder": {
			netsim.Config{Respond: upTo(1300)},
			Result{
				State: Pass, Large: 1600, Size: 1200, Piece: 1000, Sent: 1, Answered: 1, Controls: 1, ControlsAnswered: 1,
				LongSize: 3000, LongPieces: 3, LastFirst: Pass,
				LongReason: "the peer may refuse messages of 3000 bytes, or longer chains of fragments are dropped",
			},
		},
		"nothing is answered any more": {
			netsim.Config{Respond: func(uint16, []byte) []byte { return nil }},
			Result{
				State: Unknown, Reason: "the same messages sent whole were not answered either",
				Large: 1600, Size: 1200, Piece: 1000, Sent: 5, Controls: 5,
			},
		},
		"inside a tunnel": {netsim.Config{Route: netio.Route{Tunnel: "policy"}}, Result{Reason: "inside the tunnel: policy"}},
	}
	for name, tt := range tests {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %t", name, v6), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got, err := collector(t, netsim.New(tt.cfg, 1)).Measure(t.Context(), collectorstest.Target(v6))
					if err != nil {
						t.Fatal(err)
					}
					want := []Result{tt.want, tt.want}
					want[0].Method, want[1].Method = collectors.IKE, collectors.NATT
					if diff := cmp.Diff(want, got.Results, cmpopts.IgnoreFields(Result{}, "At"), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
						t.Errorf("-want +got:\n%s", diff)
					}
				})
			})
		}
	}
}

// TestNothingLargerThanFits: fragments are not larger than what is known to pass, or a black hole
// would look like lost fragments.
func TestNothingLargerThanFits(t *testing.T) {
	for _, fits := range []int{1400, 1100, 700} {
		synctest.Test(t, func(t *testing.T) {
			path := netsim.New(netsim.Config{DropFragments: true, Respond: upTo(0)}, 1)
			c := collector(t, path)
			c.opts.Fits = func(collectors.Method) int { return fits }
			if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
				t.Fatal(err)
			}
			for _, s := range path.Sent() {
				if size := s.Size; s.Fragment == 0 && size > fits || s.Fragment > fits || s.Fragment >= size {
					t.Errorf("fits %d: %d bytes in fragments of %d", fits, size, s.Fragment)
				}
			}
			if len(path.Sent()) == 0 {
				t.Errorf("fits %d: nothing was sent", fits)
			}
		})
	}
}

// TestUnknownForm: nothing is sent to a peer that is not known to answer.
func TestUnknownForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{}, 1)
		c := collector(t, path)
		c.opts.Dialects[collectors.NATT].Reset()
		got, err := c.Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		if r := got.Of(collectors.NATT); r.State != Unknown || r.Reason == "" {
			t.Errorf("%+v", r)
		}
		if slices.ContainsFunc(path.Sent(), func(s netsim.Sent) bool { return s.Port == 4500 }) {
			t.Error("sent to the port that does not answer")
		}
	})
}

// TestNothingIsDroppedByChance: loss does not look like a filter. A message of two fragments is
// lost more often than a whole one.
func TestNothingIsDroppedByChance(t *testing.T) {
	for name, cfg := range map[string]netsim.Config{
		"5 %":  {Loss: 0.05, ReverseLoss: 0.05},
		"20 %": {Loss: 0.2, ReverseLoss: 0.2},
		"20 % and a peer that refuses large messages": {Loss: 0.2, ReverseLoss: 0.2, Respond: upTo(1300)},
		"every second packet passes":                  {All: netsim.Limit{Every: 100 * time.Millisecond}, Respond: upTo(1300)},
	} {
		t.Run(name, func(t *testing.T) {
			states, most := make(map[State]int), 0
			synctest.Test(t, func(t *testing.T) {
				for seed := range uint64(1000) {
					path := netsim.New(cfg, seed)
					c := collector(t, path)
					c.opts.Seed = seed
					got, err := c.Measure(t.Context(), collectorstest.Target(seed%2 == 0))
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range got.Results {
						states[r.State]++
					}
					most = max(most, len(path.Sent()))
				}
			})
			t.Logf("%v, at most %d messages", states, most)
			if states[Dropped] > 0 || most > 2*(4*maxPairs+1) {
				t.Errorf("%v, at most %d messages", states, most)
			}
		})
	}
}

// TestDropsAreFoundInSpiteOfLoss: and where fragments are dropped, most rounds find it.
func TestDropsAreFoundInSpiteOfLoss(t *testing.T) {
	states := make(map[State]int)
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(300) {
			got, err := collector(t, netsim.New(netsim.Config{DropFragments: true, Loss: 0.1, ReverseLoss: 0.1}, seed)).Measure(t.Context(), collectorstest.Target(false))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range got.Results {
				states[r.State]++
			}
		}
	})
	if states[Pass] > 0 || states[Dropped] < 540 {
		t.Errorf("%v", states)
	}
}

// TestIncomplete: a report that the rest of a message never came arrives long after the round, and
// is evidence for the next.
func TestIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := collectorstest.Target(false)
		path := netsim.New(netsim.Config{DropFragments: true}, 1)
		c := collector(t, reporting{path, to.Path.Dst})
		for range 2 {
			got, err := c.Measure(t.Context(), to)
			if err != nil || got.Of(collectors.IKE).State != Dropped {
				t.Fatalf("%+v, %v", got, err)
			}
			time.Sleep(time.Minute)
		}
		got, err := c.Measure(t.Context(), to)
		if r := got.Of(collectors.IKE); err != nil || r.Incomplete != to.Path.Dst {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// reporting is a path on which a host waits 30 s for the rest of each fragmented message.
type reporting struct {
	*netsim.Path
	from netip.Addr
}

func (r reporting) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	r.Path.Send(ctx, p, timeout, answer)
	if p.FragmentSize > 0 && p.Linger > 30*time.Second {
		time.AfterFunc(30*time.Second, func() { answer(netio.Answer{Outcome: netio.Unreachable, Late: true, From: r.from, Type: 11, Code: 1}) })
	}
}

func TestExposer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{}, 1)
		c := collector(t, path)
		var s collectorstest.Scope
		e := NewExposer(c, &s, time.Minute)
		exposed := func() map[string]float64 {
			s.Expose(e, time.Now())
			return s.Values()
		}
		both := func(v float64) map[string]float64 {
			return map[string]float64{"ike_fragments_pass ike": v, "ike_fragments_pass natt": v}
		}
		measure := func() {
			t.Helper()
			if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, want map[string]float64) {
			t.Helper()
			if diff := cmp.Diff(want, exposed()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		check("before the first round", map[string]float64{})
		measure()
		check("pass", both(1))
		path.Set(func(c *netsim.Config) { c.DropFragments = true })
		measure()
		check("dropped", both(0))
		time.Sleep(3*time.Minute + time.Second)
		check("stale", map[string]float64{})
	})
}
