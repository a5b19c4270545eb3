package gateways

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// maxPause bounds the time between failing attempts, unless the interval is longer.
const maxPause = 5 * time.Minute

// PollerConfig says how one gateway is read.
type PollerConfig struct {
	// Name is the label value, Type the kind of gateway as configured.
	Name, Type string
	Source     Source
	// Interval is the time between the starts of readings; Timeout limits one and is shorter.
	Interval, Timeout time.Duration
	// UnmatchedEach lists SAs that belong to no configured peer by address.
	UnmatchedEach bool
	Log           *slog.Logger
	// Done is called after each attempt to read, from the goroutine of Run; it may be nil.
	Done func()
}

// A Poller reads one gateway periodically and keeps the results. Its methods may be called from any
// goroutine; only Run and Poll wait for the gateway.
type Poller struct {
	config PollerConfig
	latest *latest
}

type attempt struct {
	began, ended time.Time
	err          error
}

// NewPoller returns a Poller that knows no peers yet.
func NewPoller(c PollerConfig) *Poller { return &Poller{config: c, latest: newLatest(&c)} }

// Name returns the gateway's name.
func (p *Poller) Name() string { return p.config.Name }

// Type returns the configured kind of gateway. It is known also where the gateway cannot be read.
func (p *Poller) Type() string { return p.config.Type }

// SetPeers replaces the configured peers. The newest reading is counted again at once.
func (p *Poller) SetPeers(peers []Peer) { p.latest.setPeers(peers) }

// Settled reports whether it is known what the gateway shows now: a reading is current, or two in a
// row have failed. One failed reading is chance.
func (p *Poller) Settled() bool { return p.latest.histories.settled() }

// Snapshot returns what is known now. It does not wait for the gateway.
func (p *Poller) Snapshot() Snapshot { return p.latest.snapshot() }

// About returns a Snapshot with one peer. It returns false where the gateway shows nothing about
// the peer and no SA is expected, or where it was not read yet. Where it cannot be read, the
// Snapshot is not Up and has no peer.
func (p *Poller) About(peer string) (Snapshot, bool) { return p.latest.about(peer) }

// History returns the last readings about a peer, false if the gateway shows nothing about it and
// no SA is expected. The observations are read-only. While the gateway cannot be read, the earlier
// ones remain for as long as a reading is current; then there are none.
func (p *Poller) History(peer string) (History, bool) { return p.latest.histories.get(peer) }

// Run reads the gateway and its events until the context ends, and closes the source.
func (p *Poller) Run(ctx context.Context) {
	var watching sync.WaitGroup
	if w, ok := p.config.Source.(Watcher); ok {
		watching.Go(func() { p.watch(ctx, w) })
	}
	for ctx.Err() == nil {
		began := time.Now()
		p.Poll(ctx)
		pause(ctx, time.Until(began.Add(p.wait())))
	}
	if err := p.config.Source.Close(); err != nil {
		p.config.Log.Debug("closing the source of a gateway failed", "gateway", p.config.Name, "err", err)
	}
	watching.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// wait returns the time from the start of one reading to the next. It grows with each failure.
func (p *Poller) wait() time.Duration {
	d := p.config.Interval
	for n := p.latest.failed(); n > 1 && d < maxPause; n-- {
		d = min(2*d, maxPause)
	}
	return d
}

// Poll reads the gateway once.
func (p *Poller) Poll(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	began := time.Now()
	table, err := p.read(limited)
	a := attempt{began: began, ended: time.Now(), err: err}
	if ctx.Err() != nil {
		return // A reading that shutdown interrupts says nothing about the gateway.
	}
	before, unparsed := p.latest.add(&table, a)
	switch log := p.config.Log.With("gateway", p.config.Name); {
	case a.err != nil && before > 0:
		log.Debug("gateway still cannot be read", "err", a.err)
	case a.err != nil:
		log.Warn("gateway cannot be read", "err", a.err)
	case before > 0:
		log.Info("gateway can be read again")
	}
	if unparsed {
		p.config.Log.Warn("gateway output not understood; tunnels that it may concern are unknown",
			"gateway", p.config.Name, "lines", table.Unparsed, "first", table.FirstUnparsed)
	}
	if p.config.Done != nil {
		p.config.Done()
	}
}

// read turns a panic into an error, because a parser that fails on one device must not end the
// measurements of all others. The stack goes to the log only, because pages show errors.
func (p *Poller) read(ctx context.Context) (t Table, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("reading panicked: %v", v)
			p.config.Log.Error("reading a gateway panicked; please report this",
				"gateway", p.config.Name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	return p.config.Source.Read(ctx)
}

func (p *Poller) watch(ctx context.Context, w Watcher) {
	for ctx.Err() == nil {
		if err := p.listen(ctx, w); err != nil && ctx.Err() == nil {
			p.config.Log.Debug("events of the gateway cannot be received", "gateway", p.config.Name, "err", err)
		}
		pause(ctx, p.config.Interval)
	}
}

func (p *Poller) listen(ctx context.Context, w Watcher) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("watching panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return w.Watch(ctx, p.latest.event)
}
