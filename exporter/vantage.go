package exporter

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
)

// vantageEvery is how often the peers are compared with each other and with the controls.
const vantageEvery = 5 * time.Second

// watchVantage looks again and again whether a fault is one of this host's own surroundings.
func (a *app) watchVantage(ctx context.Context) error {
	ticker := time.NewTicker(vantageEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			a.compare(time.Now())
		case <-ctx.Done():
			return nil
		}
	}
}

// compare finds out of which peers the vantage point is suspect, and has those judged of which that has changed.
func (a *app) compare(now time.Time) {
	peers := a.running()
	standings := make([]diagnosis.Standing, 0, len(peers))
	before := make([]diagnosis.State, 0, len(peers))
	for _, p := range peers {
		standings = append(standings, p.standing())
		before = append(before, a.vantage.Of(p.cfg.Name).State)
	}
	a.vantage.Update(now, standings, a.controlled(now))
	for i, p := range peers {
		after := a.vantage.Of(p.cfg.Name).State
		if after != before[i] || after == diagnosis.Holds && p.verdict.tracker.Doubting() {
			p.judge(now)
		}
	}
}

// standing is what is known of the peer's health.
func (p *peer) standing() diagnosis.Standing {
	_, known := p.verdict.tracker.Healthy()
	every := p.cfg.Intervals
	return diagnosis.Standing{
		Peer: p.cfg.Name, ISP: p.cfg.Labels["isp"], Measured: known, Held: p.verdict.tracker.Held(),
		Interval: max(every.ICMP, every.IKE, every.PMTU),
		Intervals: map[string]time.Duration{
			diagnosis.FragmentsDropped: every.Fragments, diagnosis.ESPBlocked: every.Protocols, diagnosis.AHBlocked: every.Protocols,
		},
	}
}

// controlled is what is known of the controls.
func (a *app) controlled(now time.Time) []diagnosis.Control {
	a.mu.Lock()
	controls := slices.Clone(a.controls)
	a.mu.Unlock()
	out := make([]diagnosis.Control, 0, len(controls))
	for _, c := range controls {
		facts := c.verdict.facts(c.findings(now), now)
		mtu := &facts.MTU[collectors.ICMP]
		if !c.cfg.Collectors.Has(config.PMTU) {
			mtu = nil
		}
		out = append(out, diagnosis.JudgeControl(c.cfg.Addr, facts.Reach[collectors.ICMP], mtu))
	}
	return out
}

// newControl makes what measures a control: like a peer without series and without diagnoses. No peer has a name with a slash.
func newControl(ctx context.Context, a *app, addr netip.Addr) *peer {
	cfg := config.Peer{Name: "control/" + addr.String(), Address: addr.String(), Addr: addr, Settings: config.Defaults()}
	cfg.Collectors = config.NewCollectorSet(config.ICMP)
	if a.rawSockets() {
		cfg.Collectors = cfg.Collectors.With(config.PMTU) // by echo: nobody speaks IKE there
	}
	return newPeer(ctx, a, cfg, true)
}

// applyControls makes the configured controls the running ones. Under the lock.
func (a *app) applyControls(ctx context.Context, wanted []netip.Addr) (ended []<-chan struct{}) {
	a.controls = slices.DeleteFunc(a.controls, func(c *peer) bool {
		if slices.Contains(wanted, c.cfg.Addr) {
			return false
		}
		c.cancel()
		ended = append(ended, a.schedule.Remove(c.cfg.Name))
		return true
	})
	for _, addr := range wanted {
		if !slices.ContainsFunc(a.controls, func(c *peer) bool { return c.cfg.Addr == addr }) {
			c := newControl(ctx, a, addr)
			a.controls = append(a.controls, c)
			c.measure(addr)
		}
	}
	return ended
}
