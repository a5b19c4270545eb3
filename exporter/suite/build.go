package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/silence"
)

// Deps are what the collectors of one peer are made with.
type Deps struct {
	// Network sends the probes of the peer, Echoes its echo requests.
	Network collectors.Network
	Echoes  icmp.Engine
	// Silence, if set, is the record of addresses that do not answer, which the peers share.
	Silence *silence.Record
	// Router knows the way to the peer. It is the network without what watches the packets.
	Router collectors.Router
	Keys   *ikeprobe.Keyring
	// Accounts are charged with what is sent.
	Accounts *Accounts
	Buckets  icmp.Buckets
	// Enabled are the collectors that run.
	Enabled Set
	Every   Intervals
	// Raise is how often a reduced path MTU is tested for having grown.
	Raise time.Duration
	// Methods are the methods that can measure the path MTU.
	Methods []collectors.Method
	// Inside are the targets of the collector Inside, OpenInside returns the network of this
	// host's own traffic.
	Inside     []inside.Target
	OpenInside func() (inside.Network, error)
	// Locate finds the routers on the path, and the place of a black hole.
	Locate bool
	// Partner shapes the collector of that name, which needs its Hub if it is enabled.
	Partner partner.Options
	// Once, if set, is the pace of a peer that is measured once, while a person waits.
	Once *collectors.Once
	// Searched, if set, is called with the result of every path MTU search.
	Searched func(pmtu.Result)
	// Done, if set, is called after every echo and after every round of IKE probes, with the reason
	// why it measured nothing, if so. It must not block.
	Done func(c Collector, reason string)
}

// Collectors are the collectors of one peer. Those that it has no use for are nil: most peers of
// most configurations have few.
type Collectors struct {
	enabled, made Set

	icmp      *icmp.Collector
	ike       *ike.Collector
	pmtu      *pmtu.Collector
	fragments *fragments.Collector
	protocols *protocols.Collector
	flows     *flows.Collector
	inside    *inside.Collector
	partner   *partner.Collector
	dialects  map[collectors.Method]*ikeprobe.Dialect
}

// operations are what every collector can do. A peer has no functions of its own: there are
// thousands of peers.
type operations struct {
	// tick sends at most one packet and returns when it wants to be called next, the zero time for
	// the next regular phase; nil for a collector that blocks while it measures.
	tick func(c *Collectors, now time.Time) time.Time
	// retarget follows a change of the address; nil where measure does.
	retarget func(c *Collectors, t collectors.Target)
	// measure makes one round; see Collectors.Measure.
	measure func(ctx context.Context, c *Collectors, t collectors.Target) (keep func(*Findings), err error)
	// preview, if set, takes a short look before the first round; see Collectors.Preview.
	preview func(ctx context.Context, c *Collectors, t collectors.Target) (more bool, err error)
	// read puts the newest result into findings.
	read func(c *Collectors, f *Findings, now time.Time)
	// expose makes the collector's series.
	expose func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer
	// conclusive reports whether the newest round has found out what it is for; nil means always.
	conclusive func(c *Collectors, now time.Time) bool
	// backoff, if set, returns the time between the last probe to a peer that stays silent and the
	// next one, 0 at full pace.
	backoff func(c *Collectors) time.Duration
	// waits, if set, reports whether it can measure now what its newest round could not.
	waits func(c *Collectors, now time.Time) bool
}

// New makes the collectors of a peer that run, and those that these need. ctx ends their waiting
// for the packet budget.
func New(ctx context.Context, t collectors.Target, d *Deps) *Collectors {
	c := &Collectors{enabled: d.Enabled, made: needed(d.Enabled)}
	for of := range c.made.All() {
		specs[of].build(ctx, c, t, d)
	}
	return c
}

// needed returns the collectors that are made. IKE learns how the peer is spoken to by all that
// speak to it, and a doubt about IKE can demand the protocols.
func needed(enabled Set) Set {
	if enabled.Without(ICMP) == 0 {
		return enabled
	}
	return enabled.With(IKE, Protocols)
}

// Tick returns the function that the schedule calls for a collector that never blocks, nil for one
// that does.
func (c *Collectors) Tick(of Collector) func(now time.Time) time.Time {
	tick := specs[of].tick
	if tick == nil {
		return nil
	}
	return func(now time.Time) time.Time { return tick(c, now) }
}

// SetTarget points the collectors at another address.
func (c *Collectors) SetTarget(t collectors.Target) {
	for of := range c.made.All() {
		if f := specs[of].retarget; f != nil {
			f(c, t)
		}
	}
}

// Measure makes one round of a collector that is enabled, or of the protocols. The function that it
// returns puts the result into findings; where the round failed, an earlier result there stays.
func (c *Collectors) Measure(ctx context.Context, of Collector, t collectors.Target) (keep func(*Findings), err error) {
	return specs[of].measure(ctx, c, t)
}

// Preview returns the function that takes a short look before the first round of a collector, nil
// for one that has none. What it finds out is among the findings; a look that shows nothing
// changes nothing. It reports whether there is more to see, by another call.
func (c *Collectors) Preview(of Collector) func(ctx context.Context, t collectors.Target) (more bool, err error) {
	look := specs[of].preview
	if look == nil {
		return nil
	}
	return func(ctx context.Context, t collectors.Target) (more bool, err error) { return look(ctx, c, t) }
}

// Findings returns the newest result of every collector that runs, and of the protocols where they
// were measured on demand.
func (c *Collectors) Findings(now time.Time) *Findings {
	return c.FindingsOf(c.enabled.With(Protocols), now)
}

// FindingsOf returns the newest results of some of the collectors that run: a scrape needs few.
func (c *Collectors) FindingsOf(wanted Set, now time.Time) *Findings {
	f := &Findings{}
	for of := range (wanted & c.made & c.enabled.With(Protocols)).All() {
		specs[of].read(c, f, now)
	}
	return f
}

// Echoes returns the newest result of the echo requests. There are too many of them to ask for all
// findings after each.
func (c *Collectors) Echoes(now time.Time) icmp.Result {
	if c.icmp == nil {
		return icmp.Result{}
	}
	return c.icmp.Result(now)
}

// Steady reports whether the newest echo shows nothing new: it was answered like those before.
func (c *Collectors) Steady(now time.Time) bool { return c.icmp != nil && c.icmp.Steady(now) }

// Expose makes the series of a collector that is enabled.
func (c *Collectors) Expose(of Collector, s collectors.Scope, every time.Duration) collectors.Exposer {
	return specs[of].expose(c, s, every)
}

// Conclusive reports whether the newest round of a collector has found out what it is for. A path
// MTU that is not known yet could still be a black hole.
func (c *Collectors) Conclusive(of Collector, now time.Time) bool {
	f := specs[of].conclusive
	return f == nil || f(c, now)
}

// Waiting returns the collectors that can measure now what their newest round could not, because
// the peer answers IKE since.
func (c *Collectors) Waiting(now time.Time) (waiting Set) {
	for of := range c.made.All() {
		if f := specs[of].waits; f != nil && f(c, now) {
			waiting = waiting.With(of)
		}
	}
	return waiting
}

// Backoff returns the time between the last probe of a collector to a peer that stays silent and
// the next one, 0 at full pace.
func (c *Collectors) Backoff(of Collector) time.Duration {
	if f := specs[of].backoff; f != nil {
		return f(c)
	}
	return 0
}

// done adapts Deps.Done to one collector.
func (d *Deps) done(of Collector) func(reason string) {
	done := d.Done // not d, which is no longer needed once the collectors are made
	if done == nil {
		return nil
	}
	return func(reason string) { done(of, reason) }
}

// operationsOf makes what collectors have in common, from where the result stands in findings, the
// newest result, and one round.
func operationsOf[R any](
	field func(*Findings) **R, newest func(c *Collectors, now time.Time) R,
	measure func(ctx context.Context, c *Collectors, t collectors.Target) (R, error),
) operations {
	return operations{
		read: func(c *Collectors, f *Findings, now time.Time) { r := newest(c, now); *field(f) = &r },
		measure: func(ctx context.Context, c *Collectors, t collectors.Target) (func(*Findings), error) {
			r, err := measure(ctx, c, t)
			return func(f *Findings) {
				if to := field(f); err == nil || *to == nil {
					*to = &r
				}
			}, err
		},
	}
}

// Sizes of whole IP packets in bytes, for estimates. The larger IPv6 header is assumed.
const (
	headers = 40 + 8
	linkMTU = 1500
)

// firstForm is the size of the form that a peer is asked with first, which most peers answer.
func firstForm(s collectors.IKESettings) int {
	form := ikeprobe.V2BadKE
	if s.Version == ikeprobe.V1 {
		form = ikeprobe.V1Main
	}
	return ikeprobe.Size(form, s.Auth, true)
}
