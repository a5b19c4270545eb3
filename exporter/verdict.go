package exporter

import (
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
)

// findings are the newest results of all collectors of one peer; nil where one has none.
type findings struct {
	icmp *icmp.Result
	ike  *ike.Results
	pmtu *pmtu.Snapshot
	// interval is that of path MTU rounds, for their age.
	interval time.Duration
}

// A verdict is what follows from a peer's findings, and what must be remembered for it.
type verdict struct {
	tracker diagnosis.Tracker

	mu         sync.Mutex
	lastAnswer [len(reachable)]time.Time // by method
	echoes     icmp.State                // at the last judgement
	ran        config.CollectorSet       // collectors that have ended a measurement
	trouble    map[string]string         // by collector, why it cannot measure
}

// reachable are the methods that diagnoses know.
var reachable = [...]collectors.Method{collectors.ICMP, collectors.IKE, collectors.NATT}

// turned tells whether echoes tell another story than at the last judgement: they are too many to judge after each.
func (v *verdict) turned(s icmp.State) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return s != v.echoes
}

// ended notes that a collector has ended a measurement, for the path MTU one that told it, and tells whether the reason why it cannot measure, if any, is news. Once all have
// ended one, a peer without a diagnosis is healthy.
func (v *verdict) ended(c config.Collector, told bool, enabled config.CollectorSet, reason string) (news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if told {
		v.ran |= config.NewCollectorSet(c)
	}
	if v.ran&enabled == enabled {
		v.tracker.Complete()
	}
	if v.trouble == nil {
		v.trouble = make(map[string]string)
	}
	news = v.trouble[c.String()] != reason
	v.trouble[c.String()] = reason
	return news
}

// measured notes how a measurement of a collector went. That it cannot be made is logged when it begins, and when it ends.
func (p *peer) measured(c config.Collector, reason string) {
	p.app.count(c.String(), reason)
	// A path MTU that is not known yet could still be a black hole.
	told := c != config.PMTU || p.pmtu.Snapshot().Known
	if !p.verdict.ended(c, told, p.cfg.Collectors, reason) {
		return
	}
	log := p.app.log.With("peer", p.cfg.Name, "collector", c.String())
	if reason == "" {
		log.Info("the peer can be measured again")
	} else {
		log.Warn("the peer cannot be measured", "reason", reason)
	}
}

// judge draws the diagnoses from what is known now. A verdict that differs from what holds is looked at a second
// time at once: everything about the peer is measured again, as soon as each collector allows it.
func (p *peer) judge(now time.Time) {
	echoes, answers, sizes := p.icmp.Result(now), p.ike.Results(now), p.pmtu.Snapshot()
	f := &findings{icmp: &echoes, ike: &answers, pmtu: &sizes, interval: p.cfg.Intervals.PMTU}
	changed, again := p.verdict.tracker.Update(now, diagnosis.Evaluate(p.verdict.facts(f, now)))
	if p.diagnoses != nil { // a one-shot check has no series
		p.diagnoses.Turned(changed)
	}
	for _, c := range changed {
		log := p.app.log.With("peer", p.cfg.Name, "diagnosis", c.Name, "summary", c.Summary)
		if c.On {
			log.Info("diagnosis begins")
		} else {
			log.Info("diagnosis ends")
		}
	}
	if !again {
		return
	}
	for _, collector := range []string{collectorICMP, collectorIKE, collectorPMTU} {
		p.app.schedule.Now(p.key(collector))
	}
}

// facts says in the words of the diagnoses what was found.
func (v *verdict) facts(f *findings, now time.Time) diagnosis.Facts {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out diagnosis.Facts
	if f.icmp != nil {
		v.echoes = f.icmp.State
		out.Reach[collectors.ICMP] = reachByEcho(f.icmp)
	}
	if f.ike != nil {
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			r := f.ike.Of(m)
			out.Reach[m] = reachByIKE(&r)
		}
	}
	for _, m := range reachable {
		r := &out.Reach[m]
		if r.State == diagnosis.Answers {
			v.lastAnswer[m] = r.Measured
		}
		r.LastAnswer = v.lastAnswer[m]
	}
	if f.pmtu != nil {
		for i := range f.pmtu.Results {
			if r := &f.pmtu.Results[i]; f.interval == 0 || now.Sub(r.At) <= mtuStale*f.interval {
				out.MTU[r.Method] = mtuFacts(r)
			}
		}
	}
	return out
}

func reachByEcho(r *icmp.Result) diagnosis.Reach {
	out := diagnosis.Reach{Measured: r.At, Sent: r.Sent, Received: r.Received, RoundTrip: r.Last}
	switch r.State {
	case icmp.Reachable:
		out.State = diagnosis.Answers
	case icmp.Silent:
		// As old as the oldest of them: a second verdict must not rest on echoes of the first.
		out.State, out.Sent, out.Received, out.Measured = diagnosis.Silent, r.Unanswered, 0, r.Since
	case icmp.Unknown:
	}
	return out
}

func reachByIKE(r *ike.Result) diagnosis.Reach {
	out := diagnosis.Reach{Measured: r.At, Sent: r.Sent, Port: r.Port}
	switch r.State {
	case ike.Responding:
		out.State, out.Received, out.Reply, out.RoundTrip = diagnosis.Answers, 1, r.Reply, r.RoundTrip
	case ike.Silent:
		out.State = diagnosis.Silent
	case ike.Refused:
		out.State = diagnosis.Refused
	case ike.Unknown:
	}
	return out
}

func mtuFacts(r *pmtu.Result) diagnosis.MTU {
	return diagnosis.MTU{
		State: mtuState(r.State), Measured: r.At, Bytes: r.Bytes, LinkBytes: r.LinkBytes, Packets: r.Packets, PTBReceived: r.PTBReceived,
	}
}

func mtuState(s pmtu.State) diagnosis.MTUState {
	switch s {
	case pmtu.Clean:
		return diagnosis.Clean
	case pmtu.Reduced:
		return diagnosis.Reduced
	case pmtu.BlackHole:
		return diagnosis.BlackHole
	case pmtu.Unreachable:
		return diagnosis.Unreachable
	case pmtu.Inconclusive:
		return diagnosis.Inconclusive
	case pmtu.Unknown:
	}
	return diagnosis.MTUUnknown
}
