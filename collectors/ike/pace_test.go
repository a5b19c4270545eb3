package ike_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	limits "ipsec_path_exporter/internal/silence"
)

// counted is a network that keeps a record of limits.
type counted struct {
	*network
	record *limits.Record
}

func (c *counted) Send(ctx context.Context, p *netio.Packet, limit time.Duration, answer func(netio.Answer)) {
	charge, err := netio.Enter(c.record, p, time.Now())
	if err != nil {
		answer(netio.Answer{Outcome: netio.NotSent, Err: err})
		return
	}
	c.network.Send(ctx, p, limit, func(a netio.Answer) {
		netio.Learn(c.record, charge, p.Path.Dst, &a, time.Now())
		answer(a)
	})
}

// drive calls Tick as the schedule does: at the time that the collector asked for, else after an
// interval.
func drive(t *testing.T, c *ike.Collector, length time.Duration) {
	t.Helper()
	for end := time.Now().Add(length); ; {
		next := c.Tick(time.Now())
		if next.IsZero() {
			next = time.Now().Add(interval)
		}
		if next.After(end) {
			time.Sleep(time.Until(end))
			return
		}
		time.Sleep(time.Until(next))
		synctest.Wait()
	}
}

func restrained(t *testing.T, n *network) (*ike.Collector, *limits.Record) {
	t.Helper()
	record := limits.New()
	return ike.New(t.Context(), &counted{n, record}, n.keys, target(address), ike.Options{Interval: interval, Silence: record}), record
}

// TestSilentPeerIsAskedLess: after a full and two brief rounds one message is sent in each turn, the
// form that was answered last every other time; silence stays known, and an answer ends it.
func TestSilentPeerIsAskedLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V1Main))
		c, _ := restrained(t, n)
		round(c)
		n.script = silence
		since := time.Since(n.began)
		drive(t, c, 30*time.Second)
		full := []ikeprobe.Form{
			ikeprobe.V1Main, ikeprobe.V1Main, ikeprobe.V1Main,
			ikeprobe.V2BadKE, ikeprobe.V2Major3, ikeprobe.V2NoProp, ikeprobe.V1Minor,
		}
		if diff := cmp.Diff(full, n.probes(collectors.IKE, since)); diff != "" {
			t.Errorf("first round (-want +got):\n%s", diff)
		}
		for range 2 {
			since = time.Since(n.began)
			drive(t, c, 30*time.Second)
			if diff := cmp.Diff(full[:3], n.probes(collectors.IKE, since)); diff != "" {
				t.Errorf("brief round (-want +got):\n%s", diff)
			}
		}
		if c.Backoff() != 0 {
			t.Errorf("a pause of %v after three rounds", c.Backoff())
		}
		since = time.Since(n.began)
		for range 60 {
			drive(t, c, 10*time.Second)
			r := c.Results(time.Now())
			if r.IKE.State != ike.Silent || r.NATT.State != ike.Silent || c.Backoff() < limits.Pace || c.Backoff() > limits.SlowPace {
				t.Fatalf("%v, %v, a pause of %v", r.IKE.State, r.NATT.State, c.Backoff())
			}
		}
		if age := time.Since(c.Results(time.Now()).IKE.At); age > 3*limits.SlowPace {
			t.Errorf("the silence was shown %v ago", age)
		}
		crawl := n.probes(collectors.IKE, since)
		want := []ikeprobe.Form{
			ikeprobe.V1Main, ikeprobe.V2BadKE, ikeprobe.V1Main, ikeprobe.V2Major3, ikeprobe.V1Main, ikeprobe.V2NoProp, ikeprobe.V1Main, ikeprobe.V1Minor, ikeprobe.V1Main,
		}
		if diff := cmp.Diff(want, crawl[:len(want)]); diff != "" {
			t.Errorf("stretched round (-want +got):\n%s", diff)
		}
		n.script = answering(ikeprobe.V1Main)
		drive(t, c, 2*time.Minute)
		if r := c.Results(time.Now()); r.IKE.State != ike.Responding || r.NATT.State != ike.Responding || c.Backoff() != 0 {
			t.Errorf("after its return: %v, %v, a pause of %v", r.IKE.State, r.NATT.State, c.Backoff())
		}
	})
}

// TestBudgetIsNoSilence: where the address was sent too much already, a round ends without a result,
// and a stretched one follows.
func TestBudgetIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		c, record := restrained(t, n)
		for range limits.Burst - 3 {
			_, _ = record.Admit(netio.Lane(target(address).Path, netio.Echo, 0), time.Now(), limits.Probe{Packets: 1, Plain: true})
		}
		drive(t, c, 20*time.Second)
		if r := c.Results(time.Now()); r.IKE.State != ike.Unknown || r.NATT.State != ike.Unknown {
			t.Errorf("%v, %v after %d probes", r.IKE.State, r.NATT.State, len(n.sent))
		}
		if len(n.sent) > 4 {
			t.Errorf("%d probes", len(n.sent))
		}
		drive(t, c, 20*time.Minute)
		if r := c.Results(time.Now()); r.IKE.State != ike.Silent || r.NATT.State != ike.Silent {
			t.Errorf("%v, %v at last", r.IKE.State, r.NATT.State)
		}
	})
}

// TestRoundsOfOneAddress: two peers of one address do not begin rounds at the same time.
func TestRoundsOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		c, record := restrained(t, n)
		other := ike.New(t.Context(), &counted{n, record}, n.keys, target(address), ike.Options{Interval: interval, Silence: record})
		began := time.Now()
		c.Tick(began)
		if next := other.Tick(began); next.Sub(began) != ike.MinGap {
			t.Errorf("the other peer begins after %v", next.Sub(began))
		}
		if next := other.Tick(began.Add(time.Second)); next.Sub(began) != ike.MinGap {
			t.Errorf("asked early, it begins after %v", next.Sub(began))
		}
	})
}
