package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/silence"
)

// onDemand is what measures on request from the client's place, and a peer to measure.
func (l *lab) onDemand(t *testing.T, peer string) (*OnDemand, config.Peer) {
	t.Helper()
	cfg, err := config.FromArguments([]string{peer})
	if err != nil {
		t.Fatal(err)
	}
	tools := l.Instruments(t, cfg, slog.New(slog.DiscardHandler), false)
	return NewOnDemand(subject.Deps{Instruments: tools, Network: tools.Stack, Gateways: (&checker{}).pollers}), cfg.Peers[0]
}

// within measures in some time.
func (o *OnDemand) within(t *testing.T, limit time.Duration, peer config.Peer) *Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	out := o.Measure(ctx, peer)
	if took := time.Since(began); took > limit+time.Second {
		t.Errorf("it took %v of %v", took, limit)
	}
	return out
}

// success renders Success: 1, 0, or unknown.
func (o *Outcome) success() string {
	ok, known := o.Success()
	switch {
	case !known:
		return "unknown"
	case ok:
		return "1"
	}
	return "0"
}

// TestOnDemandHealthy: everything about a healthy peer is known long before a scrape would time out,
// and the packets for it are few.
func TestOnDemandHealthy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o, peer := l.onDemand(t, "hq="+l.Address(false))
	out := o.within(t, time.Minute, peer)
	if out.success() != "1" || !out.Complete || !out.Report.Healthy {
		t.Errorf("success %s, complete %t, report:\n%+v", out.success(), out.Complete, out.Report)
	}
	for c, want := range map[suite.Collector]bool{
		suite.ICMP: true, suite.IKE: true, suite.PMTU: true, suite.Fragments: true, suite.Flows: false, suite.Protocols: false,
	} {
		if out.Shown.Has(c) != want {
			t.Errorf("%v is shown: %t", c, !want)
		}
	}
	var sent uint64
	for i := range o.checker.deps.Accounts {
		sent += o.checker.deps.Accounts[i].Packets.Load()
	}
	const most = 40
	if sent == 0 || sent > most {
		t.Errorf("%d packets were sent, want at most %d", sent, most)
	}
	t.Logf("%d packets in %v", sent, out.Took)
}

// TestOnDemandWithoutTime: what the time did not suffice for is unknown, never silent. A peer that
// answers late is the one that would be taken for dead.
func TestOnDemandWithoutTime(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{200 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 6 * time.Second} {
		t.Run(limit.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.SilentDropAbove(t, 1, netlab.Forward) // nothing arrives
			o, peer := l.onDemand(t, "hq="+l.Address(false))
			out := o.within(t, limit, peer)
			if out.success() != "unknown" || out.Complete || out.Report.Measured {
				t.Errorf("success %s, complete %t", out.success(), out.Complete)
			}
			// Five echoes, 200 ms apart, are decided 2 s after the last one at the earliest.
			if decided := limit > 5*time.Second; out.Shown.Has(suite.ICMP) != decided {
				t.Errorf("echo is shown: %t", out.Shown.Has(suite.ICMP))
			}
			now := time.Now()
			if r := out.FindingsOf(suite.NewSet(suite.IKE), now).IKE; r.IKE.State != ike.Unknown || r.NATT.State != ike.Unknown {
				t.Errorf("IKE: %v, %v", r.IKE.State, r.NATT.State)
			}
			if f := out.Report.Findings; f.ICMP != nil && f.ICMP.State == icmp.Silent && limit < 2*time.Second {
				t.Errorf("echo: %+v", f.ICMP)
			}
		})
	}
}

// TestOnDemandHalf: what was answered is known although another port of the peer stays silent until
// the time is over.
func TestOnDemandHalf(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S5") // UDP 4500 is dropped
	o, peer := l.onDemand(t, "hq="+l.Address(false))
	out := o.within(t, 5*time.Second, peer)
	now := time.Now()
	r := out.FindingsOf(suite.NewSet(suite.IKE), now).IKE
	if r.Of(collectors.IKE).State != ike.Responding || r.Of(collectors.NATT).State == ike.Silent || out.success() != "unknown" {
		t.Errorf("IKE %v, NAT-T %v, success %s", r.IKE.State, r.NATT.State, out.success())
	}
}

// TestOnDemandSilent: with time enough, a dead peer is found dead, by fewer packets than a host bans
// for, however often it is asked.
func TestOnDemandSilent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dropped := l.SilentDropAbove(t, 1, netlab.Forward)
	o, peer := l.onDemand(t, "hq="+l.Address(false))
	out := o.within(t, 2*time.Minute, peer)
	if out.success() != "0" || len(out.Report.Diagnoses) != 1 || out.Report.Diagnoses[0].Name != "peer_silent" {
		t.Errorf("success %s, diagnoses %+v", out.success(), out.Report.Diagnoses)
	}
	t.Logf("silent after %v", out.Took)
	for range 3 {
		out = o.within(t, 5*time.Second, peer)
		t.Logf("again: success %s after %v", out.success(), out.Took)
		if ok, known := out.Success(); ok && known {
			t.Error("a dead peer is healthy")
		}
	}
	if n := l.Dropped(t, dropped); n == 0 || n > silence.Most {
		t.Errorf("%d packets got as far as the router that drops them", n)
	}
}

// TestOnDemandEnds: a client that leaves ends the measurement.
func TestOnDemandEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Gateway.Set(responder.Behaviour{Delay: 100 * time.Millisecond})
	l.Apply(t, "S2")
	o, peer := l.onDemand(t, "hq="+l.Address(false))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan *Outcome, 1)
	go func() { ended <- o.Measure(ctx, peer) }()
	exportertest.Eventually(t, time.Minute, "a search", func() bool { return o.checker.deps.Accounts[suite.PMTU].Packets.Load() > 0 })
	cancel()
	const soon = 2 * time.Second
	select {
	case out := <-ended:
		if out.Complete {
			t.Error("a measurement that was ended is complete")
		}
	case <-time.After(soon):
		t.Errorf("it goes on %v after the client has left", soon)
	}
}

// TestOnDemandRounds: rounds of IKE to one address are apart, whoever asks for them.
func TestOnDemandRounds(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o, peer := l.onDemand(t, "hq="+l.Address(false))
	now := time.Now()
	if at := o.checker.deps.Stack.Silence().Round(peer.Addr, now, now); at != now { // a peer of the schedule
		t.Fatalf("the first round has to wait until %v", at)
	}
	out := o.within(t, 5*time.Second, peer)
	if r := out.FindingsOf(suite.NewSet(suite.IKE), time.Now()).IKE; r.IKE.State != ike.Unknown || out.Complete {
		t.Errorf("IKE %v, complete %t", r.IKE.State, out.Complete)
	}
	if f := out.Report.Findings; f.PMTU != nil || f.Fragments != nil {
		t.Errorf("what depends on IKE was measured: %+v %+v", f.PMTU, f.Fragments)
	}
	peer.Name = "other"
	out = o.within(t, 40*time.Second, peer)
	r := out.FindingsOf(suite.NewSet(suite.IKE), time.Now()).IKE
	if gap := r.IKE.At.Sub(now); r.IKE.State != ike.Responding || gap < silence.RoundGap {
		t.Errorf("IKE %v, %v after the round before", r.IKE.State, gap)
	}
}

// counting is a Network that counts what it sends.
type counting struct {
	collectors.Network
	record *silence.Record
	sent   int
}

func (c *counting) Send(_ context.Context, p *netio.Packet, _ time.Duration, _ func(netio.Answer)) {
	if _, err := netio.Enter(c.record, p, time.Now()); err == nil {
		c.sent++
	}
}

// TestSparing: a request beside a schedule leaves it the packets by which a silence is found, whatever
// they are; while the peer answers, nothing is withheld.
func TestSparing(t *testing.T) {
	t.Parallel()
	record := silence.New()
	under := &counting{record: record}
	s := &sparing{under, record}
	addr := netip.MustParseAddr("192.0.2.1")
	var refused int
	send := func(p *netio.Packet) {
		p.Path.Dst = addr
		s.Send(t.Context(), p, time.Second, func(a netio.Answer) {
			if !errors.Is(a.Err, silence.ErrBudget) || a.Outcome != netio.NotSent {
				t.Errorf("answer %+v", a)
			}
			refused++
		})
	}
	const tries = 60
	for i := range tries {
		send([]*netio.Packet{{Protocol: netio.Echo, Size: 84}, {Protocol: netio.UDP, Port: 500, Size: 84}, {Protocol: netio.UDP, Port: 4500, Size: 84}}[i%3])
	}
	if want := silence.Burst - spared; under.sent != want || refused != tries-want {
		t.Errorf("%d packets were sent and %d refused, want %d and %d", under.sent, refused, want, tries-want)
	}
	if send(&netio.Packet{Protocol: netio.Echo, Size: 84, TTL: 3}); under.sent != silence.Burst-spared+1 {
		t.Error("a probe that does not get to the address is withheld")
	}
	lane := netio.Lane(netio.Path{Dst: addr}, netio.Echo, 0)
	charge, err := record.Admit(lane, time.Now(), silence.Probe{Packets: 1, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	record.Answered(charge, time.Now())
	before := under.sent
	for range tries {
		send(&netio.Packet{Protocol: netio.Echo, Size: 84})
	}
	if under.sent != before+tries {
		t.Errorf("%d of %d packets were sent to a peer that has just answered", under.sent-before, tries)
	}
}

// TestOnDemandDocument: the page for operators says how much is left to the schedule.
func TestOnDemandDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("which keeps %d of its packets for itself", spared); !strings.Contains(strings.Join(strings.Fields(string(text)), " "), want) {
		t.Errorf("docs/scaling.md lacks: %s", want)
	}
}
