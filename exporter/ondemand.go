package exporter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/shard"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/netio"
)

// onDemand implements probe.Source over the running peers.
type onDemand struct {
	*app
	// scheduled measures peers that run, others measures other targets.
	scheduled, others *check.OnDemand
	// anyTarget means that targets need not be configured.
	anyTarget bool
}

func newOnDemand(a *app, anyTarget bool) *onDemand {
	others := check.NewOnDemand(a.deps(a.tools.Stack, nil))
	return &onDemand{a, others.Beside(), others, anyTarget}
}

// Find implements probe.Source. While a peer is known to be silent, the schedule asks it as often as
// is allowed, and what it knows is the result.
func (o *onDemand) Find(target, module string) (peer config.Peer, known *check.Outcome, err error) {
	p, err := o.target(target)
	switch {
	case err != nil:
		return config.Peer{}, nil, err
	case p == nil && o.anyTarget:
		peer, err = o.current.Load().Target(target, module)
		return peer, nil, err
	case p == nil:
		return config.Peer{}, nil, o.unknown(target)
	}
	peer = *p.newest.Load()
	if module == "" && p.holds(diagnosis.PeerSilent) {
		return peer, p.outcome(time.Now()), nil
	}
	if module != "" {
		if peer, err = o.current.Load().WithModule(peer, module); err != nil {
			return config.Peer{}, nil, err
		}
	}
	if measured := p.Target().Path.Dst; measured.IsValid() && peer.Family.Allows(measured) {
		peer.Addr = measured
	}
	return peer, nil, nil
}

// target returns the running peer of a name or of an address, nil if there is none.
func (a *app) target(s string) (*peer, error) {
	if p, ok := a.find(s); ok {
		return p, nil
	}
	addr, err := netip.ParseAddr(s)
	isAddress := err == nil
	var found []*peer
	for _, p := range a.unsorted() {
		switch {
		case p.Config.Named(s), strings.EqualFold(p.Config.Address, s), isAddress && p.Target().Path.Dst == addr.Unmap():
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	var names []string
	for _, p := range found {
		names = append(names, p.Config.Name)
	}
	slices.Sort(names)
	return nil, fmt.Errorf("target %q: %w: give one of %s", s, errSeveral, strings.Join(names, ", "))
}

var (
	errSeveral = errors.New("several peers have it")
	errUnknown = errors.New("no peer of this name or address is measured")
)

// unknown is the error of a target without a peer.
func (a *app) unknown(target string) error {
	hint := "--web.probe-any-target allows others"
	if !a.shard.Alone() {
		hint = fmt.Sprintf("this is %v; a peer of this name belongs to shard %d", a.shard, shard.Of(target, a.shard.Total))
	}
	return fmt.Errorf("target %q: %w (%s)", target, errUnknown, hint)
}

// outcome is what is known of the peer now.
func (p *peer) outcome(now time.Time) *check.Outcome {
	return &check.Outcome{Subject: p.Subject, Report: document(p, now), Complete: true, Shown: p.Config.Collectors}
}

// Address implements probe.Source.
func (o *onDemand) Address(ctx context.Context, peer config.Peer) (netip.Addr, error) {
	return o.others.Address(ctx, o.resolver, peer)
}

// Measure implements probe.Source.
func (o *onDemand) Measure(ctx context.Context, peer config.Peer) *check.Outcome {
	if _, scheduled := o.find(peer.Name); scheduled {
		return o.scheduled.Measure(ctx, peer)
	}
	return o.others.Measure(ctx, peer)
}

// Answered implements probe.Source.
func (o *onDemand) Answered(peer config.Peer, since time.Time) bool {
	path := netio.Path{Dst: peer.Addr, Src: peer.SourceAddress, Interface: peer.Interface, Mark: peer.Mark}
	lanes := []struct {
		protocol netio.Protocol
		port     uint16
	}{{netio.Echo, 0}, {netio.UDP, peer.IKE.Port}, {netio.UDP, peer.IKE.NATTPort}}
	now := time.Now()
	for _, l := range lanes {
		if o.tools.Stack.Silence().Standing(netio.Lane(path, l.protocol, l.port), now).Answered.After(since) {
			return true
		}
	}
	return false
}

// Expose implements probe.Source.
func (o *onDemand) Expose(found *check.Outcome, to *store.Peer) {
	to.Attach(&infoExposer{newInfoSeries(found.Subject, to)})
	for c := range found.Shown.All() {
		to.Attach(found.Expose(c, to, found.Config.Intervals[c]))
	}
	if found.Shown.Has(suite.PMTU) {
		to.Attach(&tunnelExposer{found.Subject, to.Series(familyTunnelMTU), to.Series(familyTunnelMSS)})
	}
	diagnoses := diagnosis.NewMetrics(to, &found.Tracker)
	to.Attach(diagnoses)
	var turned []diagnosis.Change
	for _, h := range found.Tracker.Held() {
		turned = append(turned, diagnosis.Change{Diagnosis: h.Diagnosis, On: true, At: h.Since})
	}
	diagnoses.Turned(turned)
}

// infoExposer exposes what was measured.
type infoExposer struct{ infoSeries }

// Expose implements collectors.Exposer.
func (e *infoExposer) Expose(to collectors.Row, _ time.Time) { e.expose(to) }

// discoverable are the running peers for Prometheus's HTTP service discovery.
func (a *app) discoverable() []web.TargetGroup {
	all := make([]web.TargetGroup, 0)
	for _, p := range a.running() {
		all = append(all, p.targetGroup(a.shard))
	}
	return all
}

// targetGroup is the peer for service discovery: its address, or the name while that is not resolved,
// and what is known of it as labels for relabelling.
func (p *peer) targetGroup(of shard.Shard) web.TargetGroup {
	cfg, t := p.newest.Load(), p.Target()
	target := cfg.Address
	labels := map[string]string{"__meta_ipsec_peer": cfg.Name, "__meta_ipsec_host": cfg.Address}
	if t.Path.Dst.IsValid() {
		target = t.Path.Dst.String()
		labels["__meta_ipsec_family"] = subject.Family(t)
	}
	optional := map[string]string{"group": cfg.Group, "source": subject.Via(cfg)}
	if len(cfg.Gateways) > 0 {
		optional["gateways"] = "," + strings.Join(cfg.Gateways, ",") + ","
	}
	if !of.Alone() {
		optional["shard"] = strconv.Itoa(of.Index)
	}
	for name, value := range cfg.Labels {
		optional["label_"+name] = value
	}
	for name, value := range optional {
		if value != "" {
			labels["__meta_ipsec_"+name] = value
		}
	}
	return web.TargetGroup{Targets: []string{target}, Labels: labels}
}
