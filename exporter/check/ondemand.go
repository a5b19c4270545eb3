package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// OnDemand measures peers on request in a program that measures peers on a schedule too. Both share
// the sockets and with them the packet budget and the record of silent addresses: a request sends
// nothing that the schedule might not send.
//
// It measures like a check, within a time that may be short. Flows are compared only to confirm a
// silence, the protocols only to explain one. Gateways are not read.
type OnDemand struct{ checker *checker }

// NewOnDemand makes an OnDemand over open sockets.
func NewOnDemand(deps subject.Deps) *OnDemand {
	deps.Apart = "on demand/" // no peer has a name with a slash
	return &OnDemand{&checker{deps: deps, onDemand: true, progress: &progress{}}}
}

// Beside returns an OnDemand for peers that the schedule measures too. While an address answers
// nothing, it leaves the schedule the packets by which that is found and confirmed.
func (o *OnDemand) Beside() *OnDemand {
	c := *o.checker
	c.deps.Network = &sparing{c.deps.Network, c.deps.Stack.Silence()}
	return &OnDemand{&c}
}

// sparing is a Network that leaves some of what may be sent to an address that stays silent.
type sparing struct {
	collectors.Network
	record *silence.Record
}

const (
	// spared is the number of packets in a silence.Window that are left to the schedule: it takes
	// some 22 to find a silent peer.
	spared = 30
	// mayAnswer is how long after an answer of an address the next one may be under way.
	mayAnswer = 4 * time.Second
)

// Send implements collectors.Network.
func (s *sparing) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	now := time.Now()
	st := s.record.Standing(netio.Lane(p.Path, p.Protocol, p.Port), now)
	if p.TTL == 0 && st.Left <= spared && now.Sub(st.Answered) >= mayAnswer {
		answer(netio.Answer{Outcome: netio.NotSent, Err: fmt.Errorf("%w: the rest is left to the schedule", silence.ErrBudget)})
		return
	}
	s.Network.Send(ctx, p, timeout, answer)
}

// LocalDrops returns how many answers this host has lost, if the network knows it.
func (s *sparing) LocalDrops(v6 bool) uint64 { return localDrops(s.Network, v6) }

// An Outcome is what one measurement found in its time.
type Outcome struct {
	*subject.Subject
	Report *report.Report
	// Complete means that the time sufficed for every collector and for every verdict.
	Complete bool
	Took     time.Duration
	// Shown are the collectors whose results may be exposed.
	Shown suite.Set
}

// Address returns the address of a peer to measure: of the addresses of its name the first one that
// this host can send to.
func (o *OnDemand) Address(ctx context.Context, r resolve.Resolver, cfg config.Peer) (netip.Addr, error) {
	if cfg.Addr.IsValid() {
		return cfg.Addr, nil
	}
	all, err := resolve.All(ctx, r, o.checker.examine(ctx, cfg).Route, &cfg)
	if err != nil {
		return netip.Addr{}, err
	}
	return resolve.Choose(all, netip.Addr{}), nil
}

// Measure measures a peer of a known address until everything about it is known, or ctx ends. What
// the time did not suffice for is unknown.
func (o *OnDemand) Measure(ctx context.Context, cfg config.Peer) *Outcome {
	started := time.Now()
	for c := range cfg.Intervals {
		cfg.Intervals[c] = max(cfg.Intervals[c], keepFor) // or a first result would be too old at the end
	}
	// A request may name any address, and a partner is one that the configuration names.
	cfg.Collectors, cfg.Partner = cfg.Collectors.Without(suite.Partner), config.Partner{}
	m := o.checker.examine(ctx, cfg)
	m.asked = suite.NewSet(suite.Flows, suite.Protocols)
	m.Tracker.Await()
	m.measure(ctx, started)
	m.mu.Lock()
	complete := m.cut == 0 && len(m.Tracker.Pending()) == 0
	for c := range (m.Config.Collectors &^ m.asked).All() {
		complete = complete && m.failures[c] == nil
	}
	shown := m.Config.Collectors &^ m.asked
	if m.found.Flows != nil {
		shown = shown.With(suite.Flows)
	}
	if m.found.Protocols != nil {
		shown = shown.With(suite.Protocols)
	}
	if m.cut.Has(suite.ICMP) {
		shown = shown.Without(suite.ICMP) // its state may rest on a part of the echoes
	}
	m.mu.Unlock()
	if complete {
		m.Tracker.Complete()
	}
	r := m.report(time.Now())
	r.Started, r.Took = started.UTC().Truncate(time.Second), time.Since(started)
	return &Outcome{Subject: m.Subject, Report: r, Complete: complete && r.Measured, Took: r.Took, Shown: shown}
}

// Silent reports whether the address is known to answer nothing.
func (o *Outcome) Silent() bool {
	return slices.ContainsFunc(o.Report.Diagnoses, func(h diagnosis.Held) bool { return h.Name == diagnosis.PeerSilent })
}

// Success reports whether no fault was found, and whether that is known: it is what the exit codes 0
// and 1 of a check stand for.
func (o *Outcome) Success() (ok, known bool) {
	if o.Report.Fails(diagnosis.Warning) {
		return false, true
	}
	return o.Report.Measured, o.Report.Measured
}

// errSpeechless means that a collector does not know which IKE message the peer answers.
var errSpeechless = errors.New("there was no time to find out how the peer answers IKE")

// speechless reports whether IKE was to be measured on demand, and the time did not suffice for it: the
// other collectors would ask in a form that the peer may not answer.
func (m *examination) speechless() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.found.IKE
	return m.checker.onDemand && m.cut.Has(suite.IKE) && (r == nil || r.IKE.State == ike.Unknown && r.NATT.State == ike.Unknown)
}

// keepFor is a third of the time for which results of one measurement are shown.
const keepFor = 5 * time.Minute

// awaitTurn waits until a round of IKE may be sent to an address: rounds of all peers of the address
// are some time apart, on the schedule and on demand.
func (m *examination) awaitTurn(ctx context.Context, dst netip.Addr) error {
	if !m.checker.onDemand {
		return nil
	}
	now := time.Now()
	at := m.checker.deps.Stack.Silence().Round(dst, now, now)
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(at) < leastTime {
		return fmt.Errorf("%w: the address is asked by IKE at most every 10 s, and next in %v", errTime, at.Sub(now).Round(time.Millisecond))
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
