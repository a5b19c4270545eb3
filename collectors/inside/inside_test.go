package inside

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

var address = netip.MustParseAddr("10.1.0.1")

// A tunnel is a simulated path with a host that answers requests for TCP connections.
type tunnel struct {
	*netsim.Path
	syn      netio.SynAck
	requests int
	// limit, if set, is the most that an IPsec policy of this host takes.
	limit int
}

func (n *tunnel) Request(context.Context, netio.Path, uint16, *netio.Account, time.Duration) (netio.SynAck, error) {
	n.requests++
	return n.syn, nil
}

func (n *tunnel) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	if n.limit > 0 && p.WireSize() > n.limit {
		answer(netio.Answer{Outcome: netio.TooBigLocally})
		return
	}
	n.Path.Send(ctx, p, timeout, answer)
}

func collector(n *tunnel, targets ...Target) *Collector {
	return New(Options{Open: func() (Network, error) { return n, nil }, Targets: targets, Seed: 1})
}

func measureOnce(t *testing.T, c *Collector) Result {
	t.Helper()
	got, err := c.Measure(t.Context(), collectors.Target{})
	if err != nil || len(got.Results) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	return got.Results[0]
}

// TestMeasure: what a round shows of tunnels of all kinds, and the next round again.
func TestMeasure(t *testing.T) {
	offered := netio.SynAck{Answered: true, MSS: 1350}
	for name, tt := range map[string]struct {
		cfg   netsim.Config
		syn   netio.SynAck
		limit int
		want  Result
	}{
		"everything passes": {netsim.Config{}, offered, 0, Result{Size: search.Verdict{State: search.Clean, Bytes: 1500}, TCP: TCPAnswered, MSS: 1350}},
		"packet too big":    {netsim.Config{MTU: 1400}, offered, 0, Result{Size: search.Verdict{State: search.Reduced, Bytes: 1400}, TCP: TCPAnswered, MSS: 1350}},
		"black hole": {
			netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}},
			netio.SynAck{Answered: true, MSS: 1460},
			0,
			Result{Size: search.Verdict{State: search.BlackHole, Bytes: 1400}, TCP: TCPAnswered, MSS: 1460},
		},
		"policy of this host": {netsim.Config{}, offered, 1438, Result{Size: search.Verdict{State: search.Clean, Bytes: 1438}, TCP: TCPAnswered, MSS: 1350}},
		"closed port":         {netsim.Config{}, netio.SynAck{Refused: true}, 0, Result{Size: search.Verdict{State: search.Clean, Bytes: 1500}, TCP: TCPRefused}},
		"loss": {
			netsim.Config{MTU: 1300, PTB: netsim.PTBs{Drop: true}, Loss: 0.05, ReverseLoss: 0.05},
			offered, 0,
			Result{Size: search.Verdict{State: search.BlackHole, Bytes: 1300}, TCP: TCPAnswered, MSS: 1350},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &tunnel{Path: netsim.New(tt.cfg, 1), syn: tt.syn, limit: tt.limit}
				c := collector(n, Target{Address: address, Port: 443})
				for round := range 3 {
					r := measureOnce(t, c)
					if r.Size.State != tt.want.Size.State || r.Size.Bytes != tt.want.Size.Bytes || r.TCP != tt.want.TCP || r.MSS != tt.want.MSS {
						t.Errorf("round %d: %+v", round, r)
					}
					if !r.Reached() || r.Silent() || r.RoundTrip <= 0 || r.Heard.IsZero() || r.Sent != echoes {
						t.Errorf("round %d: %+v", round, r)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// TestSilence: a target that does not answer is asked little, and when it answered last is remembered.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{}, 1)
		n := &tunnel{Path: path, syn: netio.SynAck{Answered: true, MSS: 1350}}
		c := collector(n, Target{Address: address, Port: 443})
		before := measureOnce(t, c)
		n.Path, n.syn = netsim.New(netsim.Config{Loss: 1}, 1), netio.SynAck{}
		requests := n.requests
		after := measureOnce(t, c)
		if !after.Silent() || !after.Heard.Equal(before.Heard) || after.TCP != TCPSilent || after.Size.State != search.Unknown {
			t.Errorf("%+v", after)
		}
		if sent := len(n.Sent()); sent != echoes || n.requests-requests != requestTries {
			t.Errorf("%d packets and %d requests are sent into silence", sent, n.requests-requests)
		}
	})
}

// TestErrors: what could not be measured is no result, and the results of before stay.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &tunnel{Path: netsim.New(netsim.Config{}, 1)}
		c := collector(n, Target{Address: address})
		before := measureOnce(t, c)
		broken := errors.New("broken")
		n.Path = netsim.New(netsim.Config{Broken: broken}, 1)
		if got, err := c.Measure(t.Context(), collectors.Target{}); !errors.Is(err, broken) || len(got.Results) > 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if s := c.Snapshot(); len(s.Results) != 1 || !s.Results[0].At.Equal(before.At) {
			t.Errorf("%+v", s)
		}
		c.opts.Open = func() (Network, error) { return nil, broken }
		if _, err := c.Measure(t.Context(), collectors.Target{}); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}

// TestLimit: the limit of this host is found in few packets, also where it changes.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &tunnel{Path: netsim.New(netsim.Config{}, 1)}
		z := &sizer{network: n, path: netio.Path{Dst: address}, began: time.Now()}
		for _, tt := range []struct{ limit, last, want, most int }{
			{0, 0, 1500, 1}, {1438, 0, 1438, 12}, {1438, 1438, 1438, 12}, {1438, 1450, 1438, 12}, {1450, 1438, 1450, 12}, {1499, 1438, 1499, 12}, {20, 0, z.least(), 12},
		} {
			n.limit = tt.limit
			before := len(n.Sent())
			got, err := z.limit(t.Context(), 1500, tt.last)
			if sent := len(n.Sent()) - before; got != tt.want || err != nil || sent > tt.most {
				t.Errorf("limit %d, last %d: %d after %d packets, %v", tt.limit, tt.last, got, sent, err)
			}
		}
	})
}

// TestExpose: results that are too old have no series, and counters stay.
func TestExpose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &tunnel{Path: netsim.New(netsim.Config{MTU: 1400}, 1), syn: netio.SynAck{Answered: true, MSS: 1350}}
		c := collector(n, Target{Address: address, Port: 443}, Target{Address: netip.MustParseAddr("10.1.0.2")})
		scope := collectorstest.OfPeer()
		e := NewExposer(c, scope, time.Minute)
		if _, err := c.Measure(t.Context(), collectors.Target{}); err != nil {
			t.Fatal(err)
		}
		scope.Expose(e, time.Now())
		got := scope.Values()
		for name, want := range map[string]float64{
			"inside_reachable 10.1.0.1": 1, "inside_mtu_bytes 10.1.0.2": 1400,
			"inside_mss_bytes 10.1.0.1": 1350, "inside_requests_total 10.1.0.2": echoes,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if _, known := got["inside_mss_bytes 10.1.0.2"]; known {
			t.Error("an MSS of a target without a port")
		}
		time.Sleep(4 * time.Minute)
		scope.Expose(e, time.Now())
		if got = scope.Values(); len(got) != 4 {
			t.Errorf("old results: %v", got)
		}
	})
}
