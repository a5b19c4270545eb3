package check

import (
	"context"
	"slices"
	"sync"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
)

// A check measures in two lanes, because a person waits:
//
//	reach   echo ┬─ flows, if no echo is answered ─┬─ second look, if a verdict on what answers
//	        IKE ─┤                                 │  waits for one
//	path         └▸ path MTU ── protocols ─────────┴─ second look, if a verdict on the path does
//	                   ├▸ fragments
//	                   ├▸ the partner, beside the path MTU
//	                   ├▸ inside the tunnel
//	                   └▸ flows, or what black holes ask of them
//
// Fresh flows are asked when the first doubt arises: when echo requests and the first messages of IKE are
// not answered, or when the searches for the path MTU have ended. Fragments wait for these too, to know
// what passes. The ladder of the protocols waits for the ladders of the path MTU, because routers limit
// the rate of their ICMP errors.
//
// A second look begins when a first verdict is known. What is still pending after both lanes is measured
// again as on a schedule.

// A second look confirms diagnoses whose collectors belong to one lane.
var (
	reachLane = suite.Reach().With(suite.PMTU, suite.Flows)
	pathLane  = suite.NewSet(suite.PMTU, suite.Fragments, suite.Protocols, suite.Inside)
)

// A lanes is what the lanes of a first measurement wait for.
type lanes struct {
	*examination
	wanted suite.Set
	// asked is closed when IKE is known, sized when the searches for the path MTU have ended, compared
	// when the flows are.
	asked, sized, compared chan struct{}
}

// first measures everything that is wanted once, and confirms what is known to be doubtful.
func (m *examination) first(ctx context.Context, wanted suite.Set) {
	l := &lanes{
		examination: m, wanted: wanted & m.Config.Collectors,
		asked: make(chan struct{}), sized: make(chan struct{}), compared: make(chan struct{}),
	}
	m.once.Sized = sync.OnceFunc(func() { close(l.sized) })
	defer func() { m.once.Sized = nil }()
	var both sync.WaitGroup
	both.Go(func() { l.reach(ctx) })
	both.Go(func() { l.path(ctx) })
	both.Wait()
}

// reach finds out what answers.
func (l *lanes) reach(ctx context.Context) {
	l.step(firstLook, "ICMP echo and IKE")
	var all sync.WaitGroup
	target := l.Target()
	if l.wanted.Has(suite.ICMP) {
		l.once.Echoing()
		all.Go(func() {
			l.collect(ctx, suite.ICMP, target)
			l.once.Decided() // also where it was not measured
		})
	}
	all.Go(func() {
		defer close(l.asked)
		if l.wanted.Has(suite.IKE) {
			l.collectIKE(ctx, target, l.ikeRounds())
		}
	})
	all.Go(func() { l.compare(ctx, target) })
	all.Wait()
	l.lookAgain(ctx, reachLane, suite.Reach())
}

// compare compares the flows.
func (l *lanes) compare(ctx context.Context, target collectors.Target) {
	defer close(l.compared)
	if !l.wanted.Has(suite.Flows) {
		return
	}
	if unanswered, _ := l.once.Quiet(ctx); unanswered == 0 {
		<-l.asked
		<-l.sized
	}
	l.collect(ctx, suite.Flows, target)
	if <-l.asked; l.contradicted() {
		l.collect(ctx, suite.Flows, target)
	}
}

// contradicted reports whether IKE was answered after fresh flows had not been answered, by a message of
// another form.
func (m *examination) contradicted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.found.Flows == nil || m.found.IKE == nil {
		return false
	}
	return slices.ContainsFunc(collectors.IKEMethods(), func(method collectors.Method) bool {
		return m.found.IKE.Of(method).State == ike.Responding && m.found.Flows.Of(method).State == flows.Silent
	})
}

// path finds out what the path carries.
func (l *lanes) path(ctx context.Context) {
	<-l.asked
	target := l.Target()
	var all sync.WaitGroup
	all.Go(func() {
		if l.wanted.Has(suite.PMTU) {
			l.step(firstLook, suite.PMTU.Spec().Title)
			l.collect(ctx, suite.PMTU, target)
		}
		l.once.Sized() // also where it was not measured
		if l.wanted.Has(suite.Protocols) {
			l.step(firstLook, suite.Protocols.Spec().Title)
			l.collect(ctx, suite.Protocols, target)
		}
	})
	all.Go(func() {
		if l.wanted.Has(suite.Partner) {
			l.collect(ctx, suite.Partner, target)
		}
	})
	all.Go(func() {
		if <-l.sized; l.wanted.Has(suite.Fragments) {
			l.collect(ctx, suite.Fragments, target)
		}
	})
	all.Go(func() {
		if <-l.sized; l.wanted.Has(suite.Inside) {
			l.collect(ctx, suite.Inside, target)
		}
	})
	all.Go(func() {
		<-l.sized
		if <-l.compared; l.wanted.Has(suite.Flows) && ctx.Err() == nil {
			l.completeFlows(ctx, target)
		}
	})
	all.Wait()
	l.lookAgain(ctx, pathLane, pathLane)
}

// lookAgain confirms the pending verdicts for which the collectors of a lane suffice, some of which have
// to be needed. Heavy loss is measured again when nothing else is under way.
func (l *lanes) lookAgain(ctx context.Context, lane, some suite.Set) {
	l.judge()
	var names []string
	for _, name := range l.unconfirmed() {
		by := diagnosis.Confirming([]string{name}) & l.Config.Collectors
		if name != diagnosis.AddressSilent && by&^lane == 0 && by&some != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 || l.losing() || ctx.Err() != nil {
		return
	}
	again := diagnosis.Confirming(names)
	l.mu.Lock()
	l.lookedAgain = append(l.lookedAgain, names...)
	l.mu.Unlock()
	l.round(ctx, again, secondLook)
	l.judge()
}

// completeFlows asks by fresh flows too what vanishes for its size.
func (m *examination) completeFlows(ctx context.Context, target collectors.Target) {
	keep, err := m.CompleteFlows(ctx, target)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failures[suite.Flows] = err
	}
	if ctx.Err() != nil {
		m.cut = m.cut.With(suite.Flows)
	}
	keep(&m.found)
}
