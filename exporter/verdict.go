package exporter

import (
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/evidence"
)

// A verdict is what follows from a peer's findings, and what must be remembered for it.
type verdict struct {
	tracker diagnosis.Tracker

	mu         sync.Mutex
	lastAnswer [len(reachable)]time.Time // by method
	lastOffer  [len(reachable)]time.Time // by method: when an IKE_SA_INIT was last answered
	echoes     icmp.State                // at the last judgement
	ran        config.CollectorSet       // collectors that have ended a measurement
	trouble    map[string]string         // by collector, why it cannot measure
	told       []string                  // gateways that told about the peer at the last judgement
	enabled    config.CollectorSet       // those that have to end a measurement
	unread     bool                      // more will be known of the gateways soon
}

// reachable are the methods that diagnoses know.
var reachable = [...]collectors.Method{collectors.ICMP, collectors.IKE, collectors.NATT}

// turned tells whether echoes tell another story than at the last judgement: they are too many to judge after each.
func (v *verdict) turned(s icmp.State) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return s != v.echoes
}

// ended notes that a collector has ended a measurement, and whether that told what it is for. It tells whether the reason why it cannot
// measure, if any, is news. Once all have told, a peer without a diagnosis is healthy.
func (v *verdict) ended(c config.Collector, told bool, enabled config.CollectorSet, reason string) (news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if told {
		v.ran |= config.NewCollectorSet(c)
	}
	v.enabled = enabled
	v.settle()
	if v.trouble == nil {
		v.trouble = make(map[string]string)
	}
	news = v.trouble[c.String()] != reason
	v.trouble[c.String()] = reason
	return news
}

// begin waits for everything to be measured once; gateways says that some will tell too.
func (v *verdict) begin(gateways bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unread = gateways
	v.tracker.Await()
}

// settle ends the waiting for what was not measured yet. The lock is held.
func (v *verdict) settle() {
	if v.enabled != 0 && v.ran&v.enabled == v.enabled && !v.unread {
		v.tracker.Complete()
	}
}

// moved forgets what was known of the peer's former address. A diagnosis that holds ends when the new one is known to be well.
func (v *verdict) moved() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.lastAnswer[:])
	clear(v.lastOffer[:])
	v.ran = config.CollectorSet(0)
	v.tracker.Await()
}

// measured notes how a measurement of a collector went. That it cannot be made is logged when it begins, and when it ends.
func (p *peer) measured(c config.Collector, reason string) {
	p.app.count(c.String(), reason)
	if !p.verdict.ended(c, p.told(c), p.cfg.Collectors, reason) {
		return
	}
	log := p.app.log.With("peer", p.cfg.Name, "collector", c.String())
	if reason == "" {
		log.Info("the peer can be measured again")
	} else {
		log.Warn("the peer cannot be measured", "reason", reason)
	}
}

// told tells whether a measurement that has ended told what it is for. A path MTU that is not known yet could still be a black hole, and
// fragments that were not sent because nobody had answered yet could still be dropped.
func (p *peer) told(c config.Collector) bool {
	switch c {
	case config.PMTU:
		return p.pmtu.Snapshot().Known
	case config.Fragments:
		answers := p.ike.Results(time.Now())
		return !slices.ContainsFunc(p.fragments.Snapshot().Results, func(r fragments.Result) bool {
			state := answers.Of(r.Method).State
			return r.Unasked && (state == ike.Responding || state == ike.Unknown && p.cfg.Collectors.Has(config.IKE))
		})
	case config.ICMP, config.IKE, config.Protocols:
	}
	return true
}

// judge draws the diagnoses from what is known now. A verdict that differs from what holds is looked at a second
// time at once: everything about the peer is measured again, as soon as each collector allows it.
func (p *peer) judge(now time.Time) {
	if p.isControl {
		return
	}
	f := p.findings(now)
	changed, again := p.verdict.tracker.Update(now, diagnosis.Evaluate(p.verdict.facts(f, now)))
	p.remember(f, changed)
	if p.diagnoses != nil { // a one-shot check has no series
		p.diagnoses.Turned(changed)
	}
	for _, c := range changed {
		log := p.app.log.With("peer", p.cfg.Name, "diagnosis", c.Name, "summary", c.Summary)
		if c.Gateway != "" {
			log = log.With("gateway", c.Gateway)
		}
		if c.On {
			log.Info("diagnosis begins")
		} else {
			log.Info("diagnosis ends")
		}
	}
	if !again {
		return
	}
	for c := range secondLook(p.verdict.tracker.Doubts()).All() {
		p.app.schedule.Now(p.key(c.String()))
	}
}

// remember keeps what changed, and what the path is like while it is healthy.
func (p *peer) remember(f *findings, changed []diagnosis.Change) {
	for _, c := range changed {
		p.app.history.Add(p.cfg.Name, evidence.Change{At: c.At, Diagnosis: c.Name, On: c.On, Summary: c.Summary, Evidence: c.Evidence})
	}
	// While a first verdict waits for a second, the latest findings may be those of a fault already.
	if healthy, known := p.verdict.tracker.Healthy(); healthy && known && f.pmtu.Known && !p.verdict.tracker.Doubting() {
		p.app.history.SetBaseline(p.cfg.Name, baseline(f))
	}
}

// secondLook are the collectors that show whether these diagnoses hold.
func secondLook(doubts []string) (wanted config.CollectorSet) {
	for _, name := range doubts {
		switch name {
		case diagnosis.PMTUBlackHole, diagnosis.PMTUBlackHoleReverse:
			wanted = wanted.With(config.PMTU)
		case diagnosis.FragmentsDropped:
			wanted = wanted.With(config.Fragments)
		case diagnosis.ESPBlocked, diagnosis.AHBlocked:
			wanted = wanted.With(config.Protocols)
		case diagnosis.TunnelOversized:
			wanted = wanted.With(config.PMTU)
		case diagnosis.ESPOneWay, diagnosis.NegotiationStuck, diagnosis.ChildMissing, diagnosis.NoSA:
			// The next reading of the gateway tells.
		case diagnosis.PeerSilent:
			wanted = wanted.With(config.ICMP, config.IKE, config.PMTU)
		default:
			wanted = wanted.With(config.ICMP, config.IKE)
		}
	}
	return wanted
}
