package exporter

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
)

// vantageEvery is how often the peers are compared with each other and with the controls.
const vantageEvery = 5 * time.Second

// surroundings distinguish faults near this host from faults of the peers' providers.
type surroundings struct {
	diagnosis.Vantage
	app   *app
	meter diagnosis.CongestionMeter
	full  map[string]diagnosis.Congestion // at the last comparison
	// standings and before are for reuse: they are of thousands of peers.
	standings []diagnosis.Standing
	before    []diagnosis.State
	lost      losses

	mu       sync.Mutex
	controls []*control
}

// watch compares the peers until ctx ends.
func (s *surroundings) watch(ctx context.Context) error {
	ticker := time.NewTicker(vantageEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.compare(time.Now())
		case <-ctx.Done():
			return nil
		}
	}
}

// compare finds the peers whose fault may be near this host, and judges a peer where that changed.
func (s *surroundings) compare(now time.Time) {
	peers := s.app.unsorted()
	standings, before := s.standings[:0], s.before[:0]
	for _, p := range peers {
		standings = append(standings, standing(p, now))
		before = append(before, s.Of(p.Config.Name).State)
	}
	defer func() {
		clear(standings)
		s.standings, s.before = standings[:0], before[:0]
	}()
	full := s.meter.Update(now, s.app.tools.Stack.Queues(), standings)
	s.logQueues(full)
	s.lost.log(s.app.log, s.app.tools.Stack.Stats())
	s.Update(now, standings, s.judgeControls(now), full)
	for i, p := range peers {
		after := s.Of(p.Config.Name).State
		if after != before[i] || after == diagnosis.Holds && len(p.Tracker.Pending()) > 0 {
			p.judge(now)
		}
	}
}

// logQueues logs which queues of this host begin to drop probes, and which no longer do.
func (s *surroundings) logQueues(full map[string]diagnosis.Congestion) {
	for device, c := range full {
		if _, before := s.full[device]; !before {
			s.app.log.Warn("queue of this host is full; silent peers stay unknown", "interface", device, "evidence", c.Evidence)
		}
	}
	for device := range s.full {
		if _, still := full[device]; !still {
			s.app.log.Info("queue of this host drops no more probes", "interface", device)
		}
	}
	s.full = full
}

// losses log, once for all peers, that this host lost answers or may have.
type losses struct {
	standstills, drops uint64 // at the last look
	dropping           bool
}

func (l *losses) log(log *slog.Logger, now netio.Stats) {
	if n := now.Standstills - l.standstills; n > 0 {
		log.Warn("this program or its host stood still, or the clock was set; silence meanwhile is unknown", "times", n)
	}
	drops := uint64(0)
	for _, n := range now.Drops {
		drops += n
	}
	switch n := drops - l.drops; {
	case n > 0 && !l.dropping:
		log.Warn("this host loses answers before they are read; silence meanwhile is unknown", "answers", n)
	case n == 0 && l.dropping:
		log.Info("this host loses no more answers")
	}
	l.standstills, l.dropping, l.drops = now.Standstills, drops > l.drops, drops
}

// standing is what is known of the peer's health.
func standing(p *peer, now time.Time) diagnosis.Standing {
	_, known := p.Tracker.Healthy()
	s := diagnosis.Standing{
		Peer: p.Config.Name, ISP: p.Config.Labels["isp"], Measured: known, Held: p.Tracker.Held(), Intervals: p.Config.Intervals,
		Interface: p.app.tools.Stack.Egress(p.Target().Path.For(netio.Echo, 0)), Echoes: icmp.Reachable,
	}
	if !p.Steady(now) { // of thousands of peers, most are
		echoes := p.Echoes(now)
		s.Echoes, s.Unanswered = echoes.State, echoes.Unanswered > 0
	}
	return s
}

// judgeControls returns what is known of the controls.
func (s *surroundings) judgeControls(now time.Time) []diagnosis.Control {
	s.mu.Lock()
	controls := slices.Clone(s.controls)
	s.mu.Unlock()
	out := make([]diagnosis.Control, 0, len(controls))
	for _, c := range controls {
		f := c.Findings(now).Fresh(now, c.Config.Intervals)
		facts := c.Facts(&f)
		out = append(out, diagnosis.JudgeControl(c.Config.Addr, &facts))
	}
	return out
}

// A control is a subject that is expected to be well. It is measured to learn about the
// surroundings of this host, and has neither series nor diagnoses.
type control struct {
	*subject.Subject
	rounds rounds
	cancel context.CancelFunc
}

func newControl(ctx context.Context, a *app, addr netip.Addr) *control {
	c := &control{}
	ctx, c.cancel = context.WithCancel(ctx)
	c.Subject = subject.NewControl(ctx, addr, a.deps(a.tools.Stack, c.rounds.ended))
	c.rounds.init(a, c.Config.Name, func(suite.Collector) {})
	c.rounds.add(ctx, c.Subject)
	return c
}

// apply makes the configured controls the running ones, and returns what closes when the controls
// that stopped have ended.
func (s *surroundings) apply(ctx context.Context, wanted []netip.Addr) (ended []<-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.controls = slices.DeleteFunc(s.controls, func(c *control) bool {
		if slices.Contains(wanted, c.Config.Addr) {
			return false
		}
		c.cancel()
		ended = append(ended, s.app.schedule.Remove(c.Config.Name))
		return true
	})
	for _, addr := range wanted {
		if !slices.ContainsFunc(s.controls, func(c *control) bool { return c.Config.Addr == addr }) {
			s.controls = append(s.controls, newControl(ctx, s.app, addr))
		}
	}
	return ended
}
