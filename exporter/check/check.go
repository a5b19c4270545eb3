// Package check is the one-shot command: it measures peers once, over one or several ways out, and
// prints a report of each. It opens no store, no schedule and no history.
//
//	targets ──▶ config.Peers × ways out ──▶ examination of a subject.Subject ──▶ report.Report
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/untrusted"
)

// ErrFault means that a check found a fault.
var ErrFault = errors.New("a fault was found")

// ErrUnmeasured means that a check could not measure.
var ErrUnmeasured = errors.New("could not measure")

// Options are what the command line asks for.
type Options struct {
	// Targets are addresses, or names of peers of the configuration file.
	Targets    []string
	ConfigFile string
	// Output is "text", "markdown" or "json".
	Output string
	// Family, if set, is the address family of all peers: "any", "ip4", "ip6" or "both".
	Family string
	// Via are interfaces or source addresses: every peer is measured over each of them.
	Via []string
	// SourcePort is "random" or "fixed", empty for what is configured.
	SourcePort string
	// Mark, if set, is the firewall mark of all probes, in place of what is configured.
	Mark string
	// Partner, if set, is the address of a partner of every peer, with a port if that is not the usual
	// one; PartnerKeyFile is the file of its key.
	Partner, PartnerKeyFile string
	// Inside are addresses behind the tunnel of the one peer that is measured, each with a TCP port or
	// without, in place of what is configured.
	Inside []string
	// Pcap, if set, is the file for every probe and answer.
	Pcap string
	// FailOn is the least severity of a diagnosis that is a fault, a warning if empty.
	FailOn diagnosis.Severity
	// Timeout is how long one peer may take, over one way out.
	Timeout        time.Duration
	Stdout, Stderr io.Writer
}

const (
	// minTimeout is the least time that a measurement needs to find anything out.
	minTimeout = time.Second
	// atOnce is how many peers are measured at the same time.
	atOnce = 8
	// traceBytes is the most memory that the packets of a check take: some 40,000 large ones.
	traceBytes = 64 << 20
)

// Peers returns what is to be measured, as the flags say.
func (o *Options) Peers(ctx context.Context) (*config.Config, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	cfg, err := o.peers(ctx)
	if err != nil {
		return nil, err
	}
	o.overrideSourcePort(cfg.Peers)
	if err := o.overridePartner(cfg.Peers); err != nil {
		return nil, err
	}
	if err := o.overrideInside(cfg.Peers); err != nil {
		return nil, err
	}
	if o.Family != "" {
		if err := cfg.SetFamily(config.Families()[slices.Index(families(), o.Family)]); err != nil {
			return nil, fmt.Errorf("--family=%s: %w", o.Family, err)
		}
	}
	via, err := ways(o.Via)
	if err != nil {
		return nil, err
	}
	if cfg.Peers, err = expandVia(cfg.Peers, via); err != nil {
		return nil, err
	}
	for i := range cfg.Peers {
		if o.Mark != "" {
			cfg.Peers[i].Mark, _ = config.ParseMark(o.Mark)
		}
	}
	return cfg, nil
}

// Run measures once, prints a report, and returns ErrFault if it found a fault, another error if it
// could not measure.
func Run(ctx context.Context, o Options) error {
	cfg, err := o.Peers(ctx)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	instruments, err := subject.OpenInstruments(netio.Config{Limits: subject.Limits(cfg), Log: log})
	if err != nil {
		return err
	}
	defer instruments.Close()
	c := newChecker(instruments, log)
	defer c.readers.Close()
	if o.Pcap == "" {
		return c.run(ctx, cfg, &o)
	}
	file, err := os.Create(o.Pcap) // before anything is sent, so that an error costs no time
	if err != nil {
		return fmt.Errorf("--pcap: %w", err)
	}
	defer file.Close()
	ring := trace.NewRing(traceBytes)
	c.deps.Network = ring.Watch(instruments.Stack)
	outcome := c.run(ctx, cfg, &o)
	if err := errors.Join(trace.WritePcapng(file, ring.Exchanges(), report.Application()), file.Close()); err != nil {
		return fmt.Errorf("--pcap: %w", err)
	}
	return outcome
}

// validate checks the flags. Its errors name the flag, which kingpin's would not.
func (o *Options) validate() error {
	if _, why := config.ParseMark(cmp.Or(o.Mark, "0")); why != "" {
		return fmt.Errorf("--fwmark: %s", why)
	}
	switch {
	case report.Formats()[o.Output].Write == nil:
		return fmt.Errorf("--output=%s: must be one of: %s", o.Output, strings.Join(slices.Sorted(maps.Keys(report.Formats())), ", "))
	case o.FailOn != "" && !o.FailOn.AtLeast(diagnosis.Info):
		return fmt.Errorf("--fail-on=%s: must be one of: info, warning, critical", o.FailOn)
	case o.Family != "" && !slices.Contains(families(), o.Family):
		return fmt.Errorf("--family=%s: must be one of: %s", o.Family, strings.Join(families(), ", "))
	case o.Timeout < minTimeout:
		return fmt.Errorf("--timeout=%v: must be at least %v", o.Timeout, minTimeout)
	}
	return nil
}

// families are the values of --family.
func families() (names []string) {
	for _, f := range config.Families() {
		names = append(names, f.String())
	}
	return names
}

// overrideInside applies the flag --inside.
func (o *Options) overrideInside(peers []config.Peer) error {
	if len(o.Inside) == 0 {
		return nil
	}
	if len(peers) != 1 {
		return fmt.Errorf("--inside: needs one target, not %d (each tunnel has its own addresses)", len(peers))
	}
	if err := peers[0].SetInside(o.Inside); err != nil {
		return fmt.Errorf("--inside: %w", err)
	}
	return nil
}

// overrideSourcePort applies the flag --source-port.
func (o *Options) overrideSourcePort(peers []config.Peer) {
	for i := range peers {
		switch o.SourcePort {
		case collectors.FixedPort.String():
			peers[i].IKE.SourcePort = collectors.FixedPort
		case collectors.RandomPort.String():
			peers[i].IKE.SourcePort = collectors.RandomPort
		}
	}
}

// run measures the configured peers once and prints what was found.
func (c *checker) run(ctx context.Context, cfg *config.Config, o *Options) error {
	for _, line := range c.deps.Degraded() {
		fmt.Fprintf(o.Stderr, "note: %s\n", line)
	}
	c.openGateways(ctx, cfg, untrusted.Writer(o.Stderr))
	defer c.gateways.close()
	c.progress, c.timeout = newProgress(o.Stderr, len(cfg.Peers)), o.Timeout
	reports := c.all(ctx, cfg)
	return o.Conclude(reports)
}

// Conclude prints the reports and returns their outcome.
func (o *Options) Conclude(reports []*report.Report) error {
	write := report.Formats()[o.Output].Write
	if o.Output == "text" && coloured(o.Stdout) {
		write = writeColoured
	}
	if err := write(o.Stdout, reports); err != nil {
		return fmt.Errorf("report not written: %w", err)
	}
	return outcome(reports, cmp.Or(o.FailOn, diagnosis.Warning))
}

// outcome is the worst of all reports: not measured, then a fault of this severity or a worse one.
func outcome(reports []*report.Report, least diagnosis.Severity) error {
	var unmeasured []string
	fault := false
	for _, r := range reports {
		fault = fault || r.Fails(least)
		if !r.Measured && !r.Fails(least) {
			name := r.Peer
			if r.Via != "" {
				name += " via " + r.Via
			}
			unmeasured = append(unmeasured, name)
		}
	}
	switch {
	case len(unmeasured) > 0:
		return fmt.Errorf("%w: %s", ErrUnmeasured, strings.Join(unmeasured, ", "))
	case fault:
		return ErrFault
	}
	return nil
}

// all checks peers side by side, but peers of one address, or the ways out of one peer, one after
// the other, so that they do not disturb each other at the peer.
func (c *checker) all(ctx context.Context, cfg *config.Config) []*report.Report {
	defer c.progress.start()()
	reports := make([]*report.Report, len(cfg.Peers))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, same := range sameAddress(cfg.Peers) {
		g.Go(func() error {
			var silent *examination
			for _, i := range same {
				reports[i], silent = c.check(ctx, cfg.Peers[i], silent)
			}
			return nil
		})
	}
	_ = g.Wait() // no function fails: the reports have what went wrong
	return reports
}

// sameAddress returns the indexes of the peers of each address. A peer given by name is one of its
// own.
func sameAddress(peers []config.Peer) (all [][]int) {
	of := make(map[string]int)
	for i := range peers {
		key := "name " + peers[i].Name
		if addr := peers[i].Addr; addr.IsValid() {
			key = addr.Unmap().String()
		}
		at, known := of[key]
		if !known {
			at = len(all)
			of[key], all = at, append(all, nil)
		}
		all[at] = append(all[at], i)
	}
	return all
}

// check measures one peer within the timeout. A peer that would be asked in the same way as one of this
// address that answers nothing is not: the silence is known, and few packets may be sent during it. check
// returns the newest such peer.
func (c *checker) check(ctx context.Context, cfg config.Peer, silent *examination) (*report.Report, *examination) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("--timeout=%v is over", c.timeout))
	defer cancel()
	defer c.progress.done()
	started := time.Now()
	c.progress.step(cfg.Name, "resolving")
	r := subject.Unresolved(&cfg)
	if m, err := c.open(ctx, cfg); err != nil {
		r.Errors = []string{err.Error()}
	} else {
		if m.alike(silent) {
			m.adopt(silent)
			started = silent.started
		} else {
			m.measure(ctx, started)
		}
		if r = m.report(time.Now()); m.silent() {
			silent = m
		}
	}
	r.Started, r.Took = started.UTC().Truncate(time.Second), time.Since(started)
	return r, silent
}
