package ladder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

const (
	// rungs is the number of TTLs that are tried at once.
	rungs = 3
	// maxTTL is more than any path needs.
	maxTTL = 30
	// quiet is the number of TTLs without any answer after which no more answers are expected,
	// quietSparing that of a sparing climb.
	quiet, quietSparing = 5, 2
	// spacing is the pace of probes, pairSpacing that of matched pairs.
	spacing, pairSpacing = 10 * time.Millisecond, 20 * time.Millisecond
	// atOnce is the usual number of pairs that a duel sends before it waits.
	atOnce = 3

	defaultPackets = 150
)

// Options shape a climb. The zero value is usable.
type Options struct {
	// Arrivals counts an answer of the peer as one behind the last router: a kind of probe that
	// gets none is lost. It is for probes that the peer would answer alike; without it, only the
	// answers of routers are compared.
	Arrivals bool
	// Tries is the least number of pairs that show a loss; 0 means DefaultTries.
	Tries int
	// Packets is the most that may be sent; 0 means 150.
	Packets int
	// Sparing sends few probes to a peer that may be silent: the first runner climbs alone, and the
	// others do so up to the TTL with which it reached the peer, or to the one after its last answer.
	// A runner that is answered there climbs on.
	Sparing bool
	// AtOnce is the number of pairs that are sent before an answer is awaited, while nothing is lost; 0
	// means 3.
	AtOnce int
	// Patience, if set, is how long to wait for the first answers, in place of 1 s.
	Patience time.Duration
	// Seed makes the order within pairs.
	Seed uint64
}

// A climber sends the probes of one ladder.
type climber struct {
	to      volley.Sender
	runners []Runner
	opts    Options
	result  Result
	rtt     time.Duration
	drawn   uint64 // number of pairs whose order was drawn
}

// Run sends the probes of all runners with rising TTL and returns how far each gets.
func Run(ctx context.Context, to volley.Sender, runners []Runner, opts Options) (*Result, error) {
	opts.Packets, opts.Tries = cmp.Or(opts.Packets, defaultPackets), cmp.Or(opts.Tries, DefaultTries)
	opts.AtOnce = cmp.Or(opts.AtOnce, atOnce)
	c := &climber{to: to, runners: runners, opts: opts}
	for _, r := range runners {
		c.result.Climbs = append(c.result.Climbs, Climb{Name: r.Name})
	}
	if err := c.rise(ctx); err != nil {
		return nil, err
	}
	for i := range runners {
		if err := c.contest(ctx, i); err != nil {
			return nil, err
		}
	}
	return &c.result, nil
}

// rise sends probes with rising TTL.
func (c *climber) rise(ctx context.Context) error {
	base := 1
	if c.opts.Sparing {
		for ; base <= maxTTL && !c.over(base); base += rungs {
			if err := c.rungs(ctx, base, base+rungs, 1); err != nil {
				return err
			}
		}
		first := &c.result.Climbs[0]
		limit := cmp.Or(first.Arrived(), first.Last()+1) + 1
		for base = 1; base < limit; base += rungs {
			if err := c.rungs(ctx, base, min(base+rungs, limit), len(c.runners)); err != nil {
				return err
			}
		}
		base = limit
		if first.Arrived() > 0 || !c.answeredAt(limit-1) {
			return nil
		}
	}
	for ; base <= maxTTL && !c.over(base); base += rungs {
		if err := c.rungs(ctx, base, base+rungs, len(c.runners)); err != nil {
			return err
		}
	}
	return nil
}

// answeredAt reports whether any kind of probe was answered at a TTL.
func (c *climber) answeredAt(ttl int) bool {
	return slices.ContainsFunc(c.result.Climbs, func(climb Climb) bool { return climb.At(ttl).IsValid() })
}

// rungs sends the probes of the first runners that have neither arrived nor been sent before, with
// TTLs from base to below end.
func (c *climber) rungs(ctx context.Context, base, end, runners int) error {
	var targets []target
	for ttl := base; ttl < end; ttl++ {
		for i := range runners {
			climb := &c.result.Climbs[i]
			if d := c.result.Distance(); c.opts.Sparing && c.runners[i].Mute && d > 0 && ttl >= d {
				continue
			}
			if climb.Arrived() == 0 && climb.Err == nil && len(climb.Hops) < ttl {
				targets = append(targets, target{i, ttl})
			}
		}
	}
	return c.send(ctx, targets, spacing)
}

// over reports whether a TTL of base or more can show nothing new.
func (c *climber) over(base int) bool {
	last, all := 0, true
	for i := range c.result.Climbs {
		climb := &c.result.Climbs[i]
		last = max(last, climb.Last())
		all = all && climb.Arrived() > 0
	}
	distance := c.result.Distance()
	patience := quiet
	if c.opts.Sparing {
		patience = quietSparing
	}
	return all || distance > 0 && base > distance || base > last+patience
}

// A target is one probe to send.
type target struct{ runner, ttl int }

func (c *climber) send(ctx context.Context, targets []target, pace time.Duration) error {
	if c.result.Packets+len(targets) > c.opts.Packets {
		targets = targets[:max(0, c.opts.Packets-c.result.Packets)]
	}
	shots, fired := make([]*volley.Shot, 0, len(targets)), make([]target, 0, len(targets))
	for _, t := range targets {
		r := &c.runners[t.runner]
		packet, err := r.Packet(uint8(t.ttl))
		if err != nil {
			c.result.Climbs[t.runner].Err = fmt.Errorf("%s: %w", r.Name, err)
			continue
		}
		packet.TTL = uint8(t.ttl)
		shots, fired = append(shots, &volley.Shot{Packet: packet, Accept: r.Accept}), append(fired, t)
	}
	patience := matched.Patience(c.rtt, matched.LeastPatience)
	if c.rtt == 0 && c.opts.Patience > 0 {
		patience = c.opts.Patience
	}
	err := volley.Fire(ctx, c.to, shots, pace, patience)
	if ctx.Err() != nil || errors.Is(err, netio.ErrNoPrivilege) {
		return err
	}
	for i, s := range shots {
		a, climb := s.Answer(), &c.result.Climbs[fired[i].runner]
		if a.Outcome == netio.NotSent {
			climb.Err = a.Err
			continue
		}
		c.result.Packets++
		climb.record(fired[i].ttl, &a)
		c.rtt = max(c.rtt, a.RoundTrip)
	}
	return c.broken()
}

// broken returns the error of the first runner if no runner can send.
func (c *climber) broken() error {
	for i := range c.result.Climbs {
		if c.result.Climbs[i].Err == nil {
			return nil
		}
	}
	return c.result.Climbs[0].Err
}

// contest finds out whether the probes of a runner get less far than the probes of another one.
func (c *climber) contest(ctx context.Context, runner int) error {
	for {
		climb := &c.result.Climbs[runner]
		witness, ttls := c.witness(runner)
		if witness < 0 {
			return nil
		}
		before := climb.Last()
		done, err := c.duel(ctx, runner, witness, ttls)
		if err == nil && climb.Lost && len(ttls) > 1 {
			// It is lost at one of these TTLs. Whether at the first has to be shown there.
			climb.Lost = false
			done, err = c.duel(ctx, runner, witness, ttls[:1])
		}
		if err != nil || done || climb.Last() == before {
			return err
		}
	}
}

// witness returns the runner that was answered at most TTLs behind the last answer to another, and
// these TTLs; -1 if there is none.
func (c *climber) witness(runner int) (best int, ttls []int) {
	best = -1
	climb := &c.result.Climbs[runner]
	climb.Detour = false
	if climb.Arrived() > 0 || climb.Err != nil {
		return -1, nil
	}
	for i := range c.result.Climbs {
		other := &c.result.Climbs[i]
		switch where := behind(climb, other, !c.opts.Arrivals); {
		case i == runner || len(where) == 0:
		case !sameWay(climb, other):
			climb.Detour = true
		case len(where) > len(ttls):
			best, ttls = i, where
		}
	}
	return best, ttls
}

// duel sends matched pairs of both runners until the first is answered, or is convincingly lost.
func (c *climber) duel(ctx context.Context, runner, witness int, ttls []int) (done bool, err error) {
	pace, controls, lost := pairSpacing, 0, 0
	climb, other := &c.result.Climbs[runner], &c.result.Climbs[witness]
	before, rule := climb.Last(), rule(c.opts.Tries)
	wanted := func() int { return rule.Pairs(rule.Loss(lost, controls)) }
	for controls < min(wanted(), maxTries) {
		n := 1
		if pace == pairSpacing {
			n = min(c.opts.AtOnce, wanted()-controls)
		} else if err := volley.Pause(ctx, pace); err != nil {
			return false, err
		}
		sent, answered := c.result.Packets, other.answered()
		pairs := c.pairs(runner, witness, ttls, controls, n)
		if err := c.send(ctx, pairs, pace); err != nil {
			return false, err
		}
		if c.result.Packets-sent < len(pairs) {
			return true, nil // out of packets: nothing is proven
		}
		if climb.Last() > before {
			return false, nil
		}
		controls += n
		if lost += n - (other.answered() - answered); lost > 0 {
			pace = matched.PolitePause // the path loses packets, or a router limits their rate
		}
		climb.Tries, climb.Answered = controls, controls-lost
	}
	if climb.Lost = rule.Convincing(climb.Tries, climb.Answered, rule.Loss(lost, controls)); climb.Lost {
		climb.Witness = other.Name
	}
	return true, nil
}

func (c *climber) pairs(runner, witness int, ttls []int, first, n int) (pairs []target) {
	for i := range n {
		ttl := ttls[(first+i)%len(ttls)]
		one, two := target{runner, ttl}, target{witness, ttl}
		c.drawn++
		if matched.Heads(c.opts.Seed, c.drawn) {
			one, two = two, one
		}
		pairs = append(pairs, one, two)
	}
	return pairs
}
