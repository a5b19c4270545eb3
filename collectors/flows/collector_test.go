package flows_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

const (
	even, stuck, split, silent, unknown = flows.Even, flows.Stuck, flows.Split, flows.Silent, flows.Unknown
	delay                               = 20 * time.Millisecond
)

// comparing makes a collector of a peer behind a path. hole is the size that vanishes by IKE.
func comparing(t *testing.T, network collectors.Network, hole int) *flows.Collector {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	return flows.New(network, flows.Options{
		Keys: keys, Seed: 1,
		Dialects: map[collectors.Method]*ikeprobe.Dialect{
			collectors.IKE:  ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK),
			collectors.NATT: ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK),
		},
		Hole: func(m collectors.Method) int {
			if m == collectors.IKE {
				return hole
			}
			return 0
		},
	})
}

func states(r *flows.Results) (out []flows.State) {
	for _, m := range collectors.Methods() {
		out = append(out, r.Of(m).State)
	}
	return out
}

// own reports whether a probe leaves by the flow in use.
func own(p *netio.Packet) bool { return p.Path.Flow < flows.InUse }

// deadLink is one of two equal-cost links.
func deadLink(p *netio.Packet) bool {
	return p.Protocol == netio.UDP && (int(p.Path.Flow)+int(p.Port))%2 == 0
}

// TestStates: what the flows have in common, at no loss and at 5 and 20 % of it.
func TestStates(t *testing.T) {
	for name, tt := range map[string]struct {
		block func(p *netio.Packet) bool
		want  []flows.State
		// most packets are sent where none is lost by chance.
		most int
	}{
		"all are answered":       {func(*netio.Packet) bool { return false }, []flows.State{even, even, even}, 11},
		"the flow in use":        {own, []flows.State{stuck, stuck, stuck}, 70},
		"the flow in use to 500": {func(p *netio.Packet) bool { return own(p) && p.Port == 500 }, []flows.State{even, stuck, even}, 30},
		"fresh ones":             {func(p *netio.Packet) bool { return p.Path.Flow >= flows.InUse && p.Path.Flow%3 == 0 }, []flows.State{split, split, split}, 70},
		"every other one":        {deadLink, []flows.State{even, split, split}, 80},
		"a port":                 {func(p *netio.Packet) bool { return p.Port == 4500 }, []flows.State{even, even, silent}, 50},
		"all":                    {func(*netio.Packet) bool { return true }, []flows.State{silent, silent, silent}, 30},
	} {
		for _, loss := range []float64{0, 0.05, 0.2} {
			t.Run(fmt.Sprintf("%s, loss %v", name, loss), func(t *testing.T) {
				exact := 0
				for seed := range uint64(20) {
					synctest.Test(t, func(t *testing.T) {
						path := netsim.New(netsim.Config{Block: tt.block, Loss: loss, ReverseLoss: loss, Delay: delay}, seed)
						r, err := comparing(t, path, 0).Measure(t.Context(), collectorstest.Target(false))
						if err != nil {
							t.Fatal(err)
						}
						got := states(&r)
						if slices.Equal(got, tt.want) {
							exact++
						}
						for m, s := range got {
							if s != tt.want[m] && s != unknown {
								t.Errorf("seed %d: %v, want %v", seed, got, tt.want)
							}
						}
						if n := len(path.Sent()); loss == 0 && n > tt.most {
							t.Errorf("%d packets, want at most %d", n, tt.most)
						}
					})
				}
				if exact < 18 || loss == 0 && exact < 20 {
					t.Errorf("%d of 20 comparisons found out everything", exact)
				}
			})
		}
	}
}

// TestLossIsNoFlow: on a path that loses much, no flow is called lost in two comparisons in a row,
// and at 20 % each way in one of 500 comparisons at most.
func TestLossIsNoFlow(t *testing.T) {
	for _, loss := range []float64{0.05, 0.2, 0.4} {
		wrong, twice := 0, 0
		for seed := range uint64(1000) {
			synctest.Test(t, func(t *testing.T) {
				path := netsim.New(netsim.Config{Loss: loss, ReverseLoss: loss, Delay: delay, Jitter: 10 * time.Millisecond}, seed)
				c, before := comparing(t, path, 0), false
				for range 2 {
					r, err := c.Measure(t.Context(), collectorstest.Target(seed%2 == 0))
					if err != nil {
						t.Fatal(err)
					}
					now := r.State() == split || r.State() == stuck
					if now {
						wrong++
					}
					if now && before {
						twice++
					}
					before = now
				}
			})
		}
		if twice > 0 || loss <= 0.2 && wrong > 4 {
			t.Errorf("loss of %.0f %% each way: %d of 2000 comparisons find a lost flow, %d times in a row", 100*loss, wrong, twice)
		}
	}
}

// TestSlowPath: answers that take longer than the patience count.
func TestSlowPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: 2500 * time.Millisecond}, 1)
		r, err := comparing(t, path, 0).Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]flows.State{even, even, even}, states(&r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestSizes: large packets that vanish in the flow in use are tried in fresh ones.
func TestSizes(t *testing.T) {
	for name, tt := range map[string]struct {
		lost func(p *netio.Packet) bool
		want flows.Result
	}{
		"every flow":      {func(*netio.Packet) bool { return true }, flows.Result{State: silent, Tested: 7, Lost: 7}},
		"the flow in use": {own, flows.Result{State: split, Tested: 7, Lost: 1}},
		"every other one": {deadLink, flows.Result{State: split, Tested: 7, Lost: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := netsim.New(netsim.Config{Delay: delay, Block: func(p *netio.Packet) bool { return p.WireSize() > 1400 && tt.lost(p) }}, 1)
				r, err := comparing(t, path, 1401).Measure(t.Context(), collectorstest.Target(false))
				if err != nil {
					t.Fatal(err)
				}
				got := r.Large(collectors.IKE)
				if got.Bytes != 1401 || got.State != tt.want.State || got.Tested != tt.want.Tested || got.Lost != tt.want.Lost {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
				if r.Of(collectors.IKE).State != even || r.Large(collectors.NATT).Bytes != 0 {
					t.Errorf("%+v", r.Results)
				}
			})
		})
	}
}

// TestPathIsWellAgain: a black hole that has gone since the search is none of some flows.
func TestPathIsWellAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: delay, Loss: 0.1}, 1)
		r, err := comparing(t, path, 1401).Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Large(collectors.IKE); got.State != even || !got.Own || r.State() != even {
			t.Errorf("%+v", r)
		}
	})
}

// TestFreshFlowsAreFresh: a comparison uses other flows than the last one, whose mappings may be as
// stale as that of the flow in use.
func TestFreshFlowsAreFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		used := make(map[string]bool)
		var stale map[string]bool
		path := netsim.New(netsim.Config{Delay: delay, Block: func(p *netio.Packet) bool {
			flow := fmt.Sprint(p.Protocol, p.Port, p.Path.Flow)
			used[flow] = true
			return stale[flow]
		}}, 1)
		c := comparing(t, path, 0)
		for round := range 40 {
			if r, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil || r.State() != even {
				t.Fatalf("round %d: %+v, %v", round, r, err)
			}
			stale, used = used, make(map[string]bool)
			r, err := c.Measure(t.Context(), collectorstest.Target(false))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]flows.State{stuck, stuck, stuck}, states(&r)); diff != "" {
				t.Fatalf("round %d (-want +got):\n%s", round, diff)
			}
			stale, used = nil, make(map[string]bool)
		}
	})
}

// TestFixedSourcePorts: a peer that accepts only the source ports 500 and 4500 is silent to every
// flow, and known to answer those.
func TestFixedSourcePorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: delay, Block: func(p *netio.Packet) bool { return p.Protocol == netio.UDP && p.SourcePort != p.Port }}, 1)
		c := comparing(t, path, 0)
		target := collectorstest.Target(false)
		r, err := c.Measure(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range collectors.IKEMethods() {
			if of := r.Of(m); of.State != silent || !of.Fixed || !of.FixedTried || !of.Answered() {
				t.Errorf("%s: %+v", m, of)
			}
		}
		target.IKE.SourcePort = collectors.FixedPort
		if r, err = c.Measure(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]flows.State{even, unknown, unknown}, states(&r)); diff != "" {
			t.Errorf("fixed ports have no fresh flow (-want +got):\n%s", diff)
		}
	})
}

// unprivileged is a path to which no echo can be sent, nor anything from a fixed port.
type unprivileged struct{ *netsim.Path }

func (u unprivileged) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	if p.Protocol == netio.Echo || p.SourcePort != 0 {
		answer(netio.Answer{Outcome: netio.NotSent, Err: fmt.Errorf("echo: %w", netio.ErrNoPrivilege)})
		return
	}
	u.Path.Send(ctx, p, timeout, answer)
}

// TestWithoutPrivilege: IKE is compared, and what could not be sent is not known.
func TestWithoutPrivilege(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: delay, Block: func(p *netio.Packet) bool { return p.Port == 500 }}, 1)
		r, err := comparing(t, unprivileged{path}, 0).Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]flows.State{unknown, silent, even}, states(&r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if of := r.Of(collectors.IKE); of.Fixed || of.FixedTried {
			t.Errorf("%+v", of)
		}
	})
}

// refusing is a path from a host whose packet filter refuses some probes.
type refusing struct {
	*netsim.Path
	refuses func(p *netio.Packet) bool
}

func (r refusing) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	if r.refuses(p) {
		answer(netio.Answer{Outcome: netio.NotSent, Err: errors.New("operation not permitted")})
		return
	}
	r.Path.Send(ctx, p, timeout, answer)
}

// TestOwnFilterRefusesOneMethod: what this host does not send says nothing, and the others are
// compared.
func TestOwnFilterRefusesOneMethod(t *testing.T) {
	for name, refuses := range map[string]func(p *netio.Packet) bool{
		"echo": func(p *netio.Packet) bool { return p.Protocol == netio.Echo },
		"4500": func(p *netio.Packet) bool { return p.Port == 4500 },
	} {
		synctest.Test(t, func(t *testing.T) {
			path := netsim.New(netsim.Config{Delay: delay, Block: func(p *netio.Packet) bool { return p.Port == 500 }}, 1)
			r, err := comparing(t, refusing{path, refuses}, 0).Measure(t.Context(), collectorstest.Target(false))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if r.Of(collectors.IKE).State != silent || r.State() != even || len(r.Results) != 2 {
				t.Errorf("%s: %+v", name, r.Results)
			}
		})
	}
}

// TestNotMeasured: without a route, inside a tunnel, and where this host sends nothing, there is no
// result, and the former one stays where only a round failed.
func TestNotMeasured(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: delay}, 1)
		c, target := comparing(t, path, 0), collectorstest.Target(false)
		if _, err := c.Measure(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		for name, cfg := range map[string]netsim.Config{"no route": {RouteErr: broken}, "not sent": {Broken: broken}} {
			path.Set(func(c *netsim.Config) { *c = cfg })
			if _, err := c.Measure(t.Context(), target); !errors.Is(err, broken) {
				t.Errorf("%s: %v", name, err)
			}
			if s := c.Snapshot(); s.State() != even {
				t.Errorf("%s: the former result is gone: %+v", name, s)
			}
		}
		path.Set(func(c *netsim.Config) { *c = netsim.Config{Route: netio.Route{Tunnel: "device wg0"}} })
		if r, err := c.Measure(t.Context(), target); err != nil || r.Reason == "" || len(r.Results) > 0 {
			t.Errorf("inside a tunnel: %+v, %v", r, err)
		}
	})
}

// TestAnotherPath: another flow keeps the results, another address does not.
func TestAnotherPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: delay, Block: own}, 1)
		c, target := comparing(t, path, 0), collectorstest.Target(false)
		if _, err := c.Measure(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		target.Path.Flow = flows.Next(target.Path.Flow)
		c.SetTarget(target)
		if s := c.Snapshot(); s.State() != stuck {
			t.Errorf("after a change of the flow in use: %+v", s)
		}
		target.Path.Dst = target.Path.Dst.Next()
		c.SetTarget(target)
		if s := c.Snapshot(); s.State() != unknown || !s.At.IsZero() {
			t.Errorf("after a change of the address: %+v", s)
		}
	})
}

// TestNext: the flows in use take turns and are never fresh ones.
func TestNext(t *testing.T) {
	var seen []netio.Flow
	for f := netio.Flow(0); !slices.Contains(seen, f); f = flows.Next(f) {
		seen = append(seen, f)
	}
	if len(seen) != flows.InUse || slices.Max(seen) >= flows.InUse {
		t.Errorf("%v", seen)
	}
}

// TestExposition: a peer whose flows fare alike has no series, one with lost flows has those of the
// methods that lose them, until they are too old.
func TestExposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: delay}, 1)
		c, scope := comparing(t, path, 0), collectorstest.OfPeer()
		e := flows.NewExposer(c, scope, time.Minute)
		lines := func() int {
			scope.Expose(e, time.Now())
			return len(scope.Values())
		}
		if n := lines(); n != 0 {
			t.Errorf("%d series before the first comparison", n)
		}
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
			t.Fatal(err)
		}
		if n := lines(); n != 0 {
			t.Errorf("%d series of a healthy peer", n)
		}
		path.Set(func(c *netsim.Config) { c.Block = func(p *netio.Packet) bool { return own(p) && p.Port == 500 } })
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
			t.Fatal(err)
		}
		scope.Expose(e, time.Now())
		if diff := cmp.Diff(map[string]float64{"flows_tested ike": 4, "flows_lost ike": 1}, scope.Values()); diff != "" {
			t.Errorf("series (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour)
		if n := lines(); n != 0 {
			t.Errorf("%d series that are too old", n)
		}
	})
}

// TestIdentityOfFlows: a responder that sees a known SPI from another port takes the request for a
// retransmission, and replies to the first port.
func TestIdentityOfFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := make(map[netio.Token][]netio.Flow)
		path := netsim.New(netsim.Config{Delay: delay, Block: func(p *netio.Packet) bool {
			if p.Protocol == netio.UDP && !slices.Contains(tokens[p.Token], p.Path.Flow) {
				tokens[p.Token] = append(tokens[p.Token], p.Path.Flow)
			}
			return false
		}}, 1)
		if _, err := comparing(t, path, 0).Measure(t.Context(), collectorstest.Target(false)); err != nil {
			t.Fatal(err)
		}
		if len(tokens) != 8 {
			t.Errorf("%d SPIs for 8 flows", len(tokens))
		}
		for token, by := range tokens {
			if len(by) != 1 {
				t.Errorf("SPI %x is used by the flows %v", token, by)
			}
		}
	})
}
