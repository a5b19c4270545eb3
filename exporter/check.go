package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/evidence"
	"ipsec_path_exporter/exporter/report"
)

// ErrFault means that a check found a fault.
var ErrFault = errors.New("a fault was found")

// errUnmeasured means that a check could not measure at all.
var errUnmeasured = errors.New("could not measure")

// CheckOptions are what the command line says to check.
type CheckOptions struct {
	// Targets are addresses, or names of peers of the configuration file.
	Targets    []string
	ConfigFile string
	// Output is "text", "markdown" or "json".
	Output string
	// Via are interfaces or source addresses: every peer is measured over each of them.
	Via []string
	// Pcap, if set, is the file for every probe and answer.
	Pcap string
	// Timeout is how long one peer may take, over one way.
	Timeout        time.Duration
	Stdout, Stderr io.Writer
}

// minTimeout is the least time that a measurement needs to say anything.
const minTimeout = time.Second

// checkAtOnce is how many peers are measured at the same time.
const checkAtOnce = 8

// Check measures once, prints a report, and returns ErrFault if it found a fault, another error if it could not measure.
func Check(ctx context.Context, o CheckOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	cfg, err := checkedPeers(o)
	if err != nil {
		return err
	}
	via, err := ways(o.Via)
	if err != nil {
		return err
	}
	if cfg.Peers, err = over(cfg.Peers, via); err != nil {
		return err
	}
	a, err := openApp(cfg, icmp.BothBuckets, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer a.close()
	a.evidence = nil
	if o.Pcap == "" {
		return a.checkOnce(ctx, cfg, &o)
	}
	file, err := os.Create(o.Pcap) // before anything is sent: who cannot have it wants to know now
	if err != nil {
		return fmt.Errorf("--pcap: %w", err)
	}
	defer file.Close()
	a.trace = evidence.NewTrace(traceBytes)
	outcome := a.checkOnce(ctx, cfg, &o)
	if err := errors.Join(evidence.WritePcapng(file, a.trace.Exchanges(), application()), file.Close()); err != nil {
		return fmt.Errorf("--pcap: %w", err)
	}
	return outcome
}

// traceBytes is the most that the packets of a check take in memory: some 40,000 large ones.
const traceBytes = 64 << 20

// validate checks the flags, with their names: kingpin would not say which of them it does not like.
func (o *CheckOptions) validate() error {
	switch {
	case writers()[o.Output] == nil:
		return fmt.Errorf("--output=%s: there is %s", o.Output, strings.Join(slices.Sorted(maps.Keys(writers())), ", "))
	case o.Timeout < minTimeout:
		return fmt.Errorf("--timeout=%v: must be at least %v", o.Timeout, minTimeout)
	}
	return nil
}

// writers are the forms of a report.
func writers() map[string]func(io.Writer, []*report.Report) error {
	return map[string]func(io.Writer, []*report.Report) error{
		"json": report.WriteJSON, "markdown": report.WriteMarkdown, "text": report.WriteText,
	}
}

// checkOnce measures the configured peers once and prints what was found.
func (a *app) checkOnce(ctx context.Context, cfg *config.Config, o *CheckOptions) error {
	for _, line := range a.degraded() {
		fmt.Fprintf(o.Stderr, "note: %s\n", line)
	}
	a.checked = a.openGateways(ctx, cfg, o.Stderr)
	defer a.checked.close()
	reports := a.checkAll(ctx, cfg, newProgress(o.Stderr, len(cfg.Peers)), o.Timeout)
	report.Conclude(reports)
	if err := writers()[o.Output](o.Stdout, reports); err != nil {
		return fmt.Errorf("%w: %w", errUnmeasured, err)
	}
	return outcome(reports)
}

// outcome is the worst of all: not measured, then a fault.
func outcome(reports []*report.Report) error {
	var unmeasured []string
	fault := false
	for _, r := range reports {
		fault = fault || len(r.Diagnoses) > 0
		if !r.Measured && len(r.Diagnoses) == 0 {
			name := r.Peer
			if r.Via != "" {
				name += " via " + r.Via
			}
			unmeasured = append(unmeasured, name)
		}
	}
	switch {
	case len(unmeasured) > 0:
		return fmt.Errorf("%w: %s", errUnmeasured, strings.Join(unmeasured, ", "))
	case fault:
		return ErrFault
	}
	return nil
}

// checkedPeers are the configured peers that were asked for, or addresses with the default settings.
func checkedPeers(o CheckOptions) (*config.Config, error) {
	if o.ConfigFile == "" {
		if len(o.Targets) == 0 {
			return nil, errors.New("nothing to check: give an address, or --config.file")
		}
		return config.FromArguments(o.Targets)
	}
	cfg, err := config.Load(o.ConfigFile)
	if err != nil || len(o.Targets) == 0 {
		return cfg, err
	}
	var unknown []error
	for _, name := range o.Targets {
		if !slices.ContainsFunc(cfg.Peers, func(p config.Peer) bool { return p.Name == name }) {
			unknown = append(unknown, fmt.Errorf("%s has no peer named %q", o.ConfigFile, name))
		}
	}
	cfg.Known = cfg.Peers
	cfg.Peers = slices.DeleteFunc(slices.Clone(cfg.Peers), func(p config.Peer) bool { return !slices.Contains(o.Targets, p.Name) })
	return cfg, errors.Join(unknown...)
}

// checkAll checks peers side by side, and one peer's ways out one after the other, lest they disturb each other at the peer.
func (a *app) checkAll(ctx context.Context, cfg *config.Config, progress *progress, timeout time.Duration) []*report.Report {
	defer progress.end()
	reports := make([]*report.Report, len(cfg.Peers))
	var g errgroup.Group
	g.SetLimit(checkAtOnce)
	for first := 0; first < len(cfg.Peers); {
		end := first + 1
		for end < len(cfg.Peers) && cfg.Peers[end].Name == cfg.Peers[first].Name {
			end++
		}
		one, out := cfg.Peers[first:end], reports[first:end]
		g.Go(func() error {
			for i := range one {
				out[i] = a.checkWithin(ctx, one[i], progress, timeout)
			}
			return nil
		})
		first = end
	}
	_ = g.Wait() // no function fails: what went wrong is in the reports
	return reports
}

func (a *app) checkWithin(ctx context.Context, p config.Peer, progress *progress, timeout time.Duration) *report.Report {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("--timeout=%v is over", timeout))
	defer cancel()
	return a.check(ctx, p, progress)
}

// check measures one peer, and a second time what a verdict wants to have confirmed.
func (a *app) check(ctx context.Context, cfg config.Peer, progress *progress) *report.Report {
	started := time.Now()
	// ESP and AH are worth a line in the peer's log here: somebody wants to know.
	cfg.Collectors = cfg.Collectors.With(config.Protocols)
	r := &report.Report{Peer: cfg.Name, Via: source(&cfg), Started: started.UTC().Truncate(time.Second), Diagnoses: []report.Diagnosis{}}
	defer func() { r.Seconds = time.Since(started).Seconds() }()
	progress.step(cfg.Name, "resolving")
	addr, err := resolve(ctx, a.resolver, &cfg, cfg.Addr)
	if err != nil {
		r.Errors = []string{err.Error()}
		progress.done()
		return r
	}
	p := newPeer(ctx, a, cfg, false)
	defer p.cancel()
	p.target.Path.Dst = addr
	r.Address, r.Family = addr.String(), family(p.target)
	if route, err := a.stack.Route(p.target.Path); err == nil && route.Src.IsValid() {
		r.Source, r.Interface = route.Src.String(), route.Interface
	}
	m := &examination{peer: p, target: p.target, progress: progress}
	m.round(ctx, cfg.Collectors)
	m.readGateways(ctx, started.Add(-config.DefaultGatewayInterval))
	judged := time.Now()
	if doubted, again := m.judge(); again && ctx.Err() == nil {
		progress.step(cfg.Name, "confirming")
		m.round(ctx, doubted)
		m.readGateways(ctx, judged)
		m.judge()
	}
	m.fill(r)
	progress.done()
	return r
}

// An examination is the measurements of one check, and what follows from them. The peer's own verdict is none of its business: that is
// the schedule's, and drawn again after every single answer.
type examination struct {
	peer     *peer
	target   collectors.Target
	progress *progress
	verdict  verdict

	mu     sync.Mutex
	found  findings
	errors [checkCollectors]error // by collector, of its last measurement
}

// checkCollectors is how many collectors a check has.
const checkCollectors = int(config.Protocols) + 1

// round measures by those configured collectors that are wanted. Echoes and IKE go side by side; the others come behind: they want to know how
// the peer is spoken to and what passes, and to be alone.
func (m *examination) round(ctx context.Context, wanted config.CollectorSet) {
	has := func(c config.Collector) bool { return m.peer.cfg.Collectors.Has(c) && wanted.Has(c) }
	var g errgroup.Group
	if has(config.ICMP) {
		m.progress.step(m.peer.cfg.Name, "ICMP echo and IKE")
		g.Go(func() error {
			r, err := m.peer.icmp.Measure(ctx, m.target)
			m.note(config.ICMP, err, m.found.icmp != nil, func() { m.found.icmp = &r })
			return nil
		})
	}
	if has(config.IKE) {
		g.Go(func() error {
			r, err := m.peer.ike.Measure(ctx, m.target)
			m.note(config.IKE, err, m.found.ike != nil, func() { m.found.ike = &r })
			return nil
		})
	}
	_ = g.Wait() // no function fails: errors are noted
	if has(config.PMTU) {
		m.progress.step(m.peer.cfg.Name, "path MTU")
		_, err := m.peer.pmtu.Measure(ctx, m.target)
		m.note(config.PMTU, err, false, func() {
			s := m.peer.pmtu.Snapshot()
			addCosts(&s, m.found.pmtu)
			m.found.pmtu = &s
		})
	}
	if has(config.Fragments) {
		m.progress.step(m.peer.cfg.Name, "fragments")
		r, err := m.peer.fragments.Measure(ctx, m.target)
		m.note(config.Fragments, err, m.found.fragments != nil, func() { m.found.fragments = &r })
	}
	if has(config.Protocols) {
		m.progress.step(m.peer.cfg.Name, "protocols and routers")
		r, err := m.peer.protocols.Measure(ctx, m.target)
		m.note(config.Protocols, err, m.found.protocols != nil, func() { m.found.protocols = &r })
	}
}

// readGateways reads the peer's gateways, if what is known of them is from before a time.
func (m *examination) readGateways(ctx context.Context, before time.Time) {
	if p := &m.peer.cfg; len(p.Gateways) > 0 {
		m.progress.step(p.Name, "gateways")
		m.peer.app.checked.read(ctx, p, before)
	}
}

// addCosts makes the results those of the whole check: a boundary that is confirmed in a few packets was found by more.
func addCosts(s, earlier *pmtu.Snapshot) {
	if earlier == nil {
		return
	}
	for i := range s.Results {
		r := &s.Results[i]
		for j := range earlier.Results {
			if before := &earlier.Results[j]; before.Method == r.Method && before.At.Before(r.At) {
				r.Packets += before.Packets
				r.Duration += before.Duration
				r.PTBReceived += before.PTBReceived
				r.PTBRejected += before.PTBRejected
			}
		}
	}
}

// note keeps a result, and an error for the report. What could not be measured a second time does not undo what was measured.
func (m *examination) note(c config.Collector, err error, measured bool, keep func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil || !measured {
		keep()
	}
	m.errors[c] = err
}

// unmeasured is what could not be measured, a line each.
func (m *examination) unmeasured() (lines []string) {
	for _, err := range m.errors {
		if err == nil {
			continue
		}
		for line := range strings.Lines(err.Error()) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// judge draws the diagnoses and tells which collectors are to confirm those that are in doubt, if any is. Nobody has to wait until IKE may
// be asked again for what rests on path MTU searches alone.
func (m *examination) judge() (doubted config.CollectorSet, again bool) {
	now := time.Now()
	m.found.gateways = m.peer.stories()
	_, again = m.verdict.tracker.Update(now, diagnosis.Evaluate(m.verdict.facts(&m.found, now)))
	return secondLook(m.verdict.tracker.Doubts()), again
}

// fill writes down what was found.
func (m *examination) fill(r *report.Report) {
	r.Errors = m.unmeasured()
	m.peer.describe(r, m.target, &m.found, &m.verdict.tracker, time.Now())
	if m.peer.cfg.Collectors.Has(config.PMTU) && (m.found.pmtu == nil || !m.found.pmtu.Known) {
		r.Healthy, r.Measured = false, false // who asks for the path MTU is not helped by an answered echo
	}
}
