package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
)

// A checker is what all peers of a check share.
type checker struct {
	deps     subject.Deps // its Network is the sockets, or a trace that watches them
	resolver resolve.Resolver
	// onDemand means that a schedule measures beside the check; see OnDemand.
	onDemand bool
	readers  *readers.Readers // makes what reads the gateways
	gateways checkedGateways
	progress *progress
	timeout  time.Duration
}

func newChecker(i *subject.Instruments, log *slog.Logger) *checker {
	i.Stack.Silence().Once()
	c := &checker{readers: readers.New(log)}
	c.deps = subject.Deps{Instruments: i, Network: i.Stack, Gateways: c.pollers}
	return c
}

// An examination is the measurements of one check, and what follows from them.
type examination struct {
	*subject.Subject
	checker *checker
	once    *collectors.Once // nil on demand
	names   names
	asked   suite.Set // the collectors that have measured already, or do not before something is doubtful

	started time.Time // of the measurement

	judging sync.Mutex // held from the facts to their judgement
	mu      sync.Mutex
	found   suite.Findings
	// lookedAgain are the diagnoses that the lanes of a check have measured again.
	lookedAgain []string
	failures    []error   // of the last measurement of each collector
	cut         suite.Set // the collectors for whose last measurement the time did not suffice
}

// examine makes the examination of a peer.
func (c *checker) examine(ctx context.Context, cfg config.Peer) *examination {
	m := &examination{checker: c, failures: make([]error, len(suite.All()))}
	deps := c.deps
	if !c.onDemand {
		// ESP and AH are worth a line in the peer's log here, because a person asks.
		cfg.Collectors = cfg.Collectors.With(suite.Protocols)
		m.once = collectors.NewOnce()
		deps.Once, deps.Network = m.once, &paced{Network: deps.Network}
	}
	m.Subject = subject.New(ctx, &cfg, deps)
	return m
}

// A look is what a person is told of a measurement before its name.
type look string

// The looks.
const (
	firstLook  look = ""
	secondLook look = "second look: "
)

// step shows what is under way.
func (m *examination) step(l look, what string) {
	m.checker.progress.step(m.Config.Name, string(l)+what)
}

// confirmations is how often a check measures again to confirm verdicts: a second time only where
// the first one has found heavy loss.
const confirmations = 2

// measure measures the peer, and again what a verdict needs to be confirmed.
func (m *examination) measure(ctx context.Context, started time.Time) {
	m.started = started
	if wanted := m.Config.Collectors &^ m.asked; m.once != nil {
		m.first(ctx, wanted)
	} else {
		m.round(ctx, wanted, firstLook)
	}
	m.readGateways(ctx, started.Add(-config.DefaultGatewayInterval))
	m.watchGateways(ctx)
	for i := range confirmations {
		judged := time.Now()
		pending, again := m.judge()
		if i == 0 { // some first verdicts are older
			pending |= diagnosis.Confirming(m.unconfirmed())
			again = again || len(m.unconfirmed()) > 0
		}
		if !again || ctx.Err() != nil || i > 0 && !m.losing() {
			return
		}
		m.round(ctx, pending, secondLook)
		if slices.Contains(m.Tracker.Pending(), diagnosis.AddressSilent) {
			m.names.tryAgain(ctx)
		}
		m.readGateways(ctx, judged)
	}
	m.judge()
}

// unconfirmed returns the diagnoses on which a first verdict waits for a second, and that were not measured
// again yet.
func (m *examination) unconfirmed() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(m.Tracker.Pending(), func(name string) bool { return slices.Contains(m.lookedAgain, name) })
}

// losing reports whether a verdict on heavy loss waits for another.
func (m *examination) losing() bool {
	return slices.Contains(m.Tracker.Pending(), diagnosis.LossHigh)
}

// ikeRounds is how many rounds of IKE confirm what is pending: several, while echo requests show
// how much is lost, because a limit for ICMP would not affect them.
func (m *examination) ikeRounds() int {
	if m.losing() {
		return 2
	}
	return 1
}

// round measures by the wanted collectors, IKE in several rounds. Collectors that never block run
// side by side; the others follow one at a time: they need to know which IKE message is answered,
// and must not be disturbed.
func (m *examination) round(ctx context.Context, wanted suite.Set, l look) {
	wanted &= m.Config.Collectors
	target := m.Target()
	if wanted&suite.Reach() != 0 {
		m.step(l, "ICMP echo and IKE")
	}
	var g errgroup.Group
	for c := range wanted.All() {
		switch {
		case m.Tick(c) == nil:
		case c == suite.IKE:
			g.Go(func() error { m.collectIKE(ctx, target, m.ikeRounds()); return nil })
		default:
			g.Go(func() error { m.collect(ctx, c, target); return nil })
		}
	}
	_ = g.Wait() // no function fails: failures has the errors
	for c := range wanted.All() {
		switch {
		case m.Tick(c) != nil:
		case m.speechless():
			m.skip(c, errSpeechless)
		default:
			m.step(l, c.Spec().Title)
			m.collect(ctx, c, target)
		}
	}
}

// collect makes one measurement of a collector. A silence for which the time did not suffice shows
// nothing.
func (m *examination) collect(ctx context.Context, c suite.Collector, target collectors.Target) {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && time.Until(deadline) < leastTime {
		m.skip(c, errTime)
		return
	}
	keep, err := m.Measure(ctx, c, target)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures[c] = err
	if ctx.Err() == nil {
		m.cut = m.cut.Without(c)
		keep(&m.found)
		return
	}
	m.cut = m.cut.With(c)
	var partial suite.Findings
	if keep(&partial); partial.ICMP == nil || partial.ICMP.State != icmp.Silent {
		keep(&m.found)
	}
}

// leastTime is the time that must be left for a measurement to begin.
const leastTime = 500 * time.Millisecond

var errTime = errors.New("too little time is left")

// skip leaves a measurement out.
func (m *examination) skip(c suite.Collector, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = m.cut.With(c)
	m.failures[c] = fmt.Errorf("%v: not measured: %w", c, err)
}

// collectIKE makes several measurements of IKE. The last one counts, and what was lost in all.
func (m *examination) collectIKE(ctx context.Context, target collectors.Target, rounds int) {
	var ikeLoss, nattLoss collectors.Sample
	for range rounds {
		if err := m.awaitTurn(ctx, target.Path.Dst); err != nil {
			m.skip(suite.IKE, err)
			return
		}
		m.collect(ctx, suite.IKE, target)
		m.mu.Lock()
		if r := m.found.IKE; r != nil && m.failures[suite.IKE] == nil {
			ikeLoss, nattLoss = ikeLoss.Plus(r.IKE.Loss), nattLoss.Plus(r.NATT.Loss)
			sum := *r // others may read what was found
			sum.IKE.Loss, sum.NATT.Loss = ikeLoss, nattLoss
			m.found.IKE = &sum
		}
		m.mu.Unlock()
	}
}

// readGateways reads the peer's gateways, unless they were read after a time.
func (m *examination) readGateways(ctx context.Context, after time.Time) {
	if len(m.Config.Gateways) > 0 {
		m.step(firstLook, "gateways")
		m.checker.gateways.read(ctx, m.Config, after)
	}
}

// watchInterval is the time between readings of a gateway at which the tunnel is not up,
// watchReadings the most of them.
const (
	watchInterval = 4 * time.Second
	watchReadings = 8
)

// watchGateways reads the gateways again while the tunnel is not up at one of them, until it is
// known whether that lasts.
func (m *examination) watchGateways(ctx context.Context) {
	for range watchReadings {
		facts := m.facts()
		if !slices.ContainsFunc(facts.Gateways, func(g diagnosis.Gateway) bool { return g.Young() }) {
			return
		}
		select {
		case <-time.After(watchInterval):
			m.readGateways(ctx, time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// facts returns what is known so far.
func (m *examination) facts() diagnosis.Facts {
	m.mu.Lock()
	found := m.found // each result is replaced, never changed
	m.mu.Unlock()
	facts := m.Facts(&found)
	may := m.checker.deps.Stack.Capabilities()
	facts.NoEcho = !may[netio.RawICMP] && !may[netio.PingSocket]
	facts.Others, facts.LookedUp = m.names.others(), m.names.lookedUp
	if m.checker.onDemand {
		facts.Gateways = nil // they are watched by the schedule
	}
	for i := range facts.Gateways {
		facts.Gateways[i].Once = true
	}
	return facts
}

// judge draws the diagnoses and returns the collectors that are to confirm a new verdict, if there
// is one. What rests on path MTU searches alone does not wait until IKE may be asked again.
func (m *examination) judge() (pending suite.Set, again bool) {
	m.judging.Lock() // older facts of one lane must not come after newer ones of the other
	defer m.judging.Unlock()
	facts := m.facts()
	_, again = m.Tracker.Judge(time.Now(), facts)
	pending = diagnosis.Confirming(m.Tracker.Pending())
	if facts.Uncompared() {
		pending, again = pending.With(suite.Flows), true
	}
	return pending, again
}

// report returns what was found.
func (m *examination) report(now time.Time) *report.Report {
	r := m.Report(&m.found, now)
	r.Errors = slices.Concat(m.unmeasured(), r.Errors)
	m.names.describe(r)
	// An answered echo is no answer to what the path carries, nor to whether IKE passes.
	sized := !m.Config.Collectors.Has(suite.PMTU) || m.found.PMTU != nil && m.found.PMTU.Known
	if !sized || m.found.IKE != nil && m.found.IKE.NotSent() {
		r.Healthy, r.Measured = false, false
	}
	return r
}

// unmeasured returns what could not be measured, a line each.
func (m *examination) unmeasured() (lines []string) {
	for _, err := range m.failures {
		if err == nil {
			continue
		}
		for line := range strings.Lines(err.Error()) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
