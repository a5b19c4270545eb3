package ladder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// The pace of a ladder.
const (
	// rungs is how many TTLs are tried at once.
	rungs = 3
	// maxTTL is as far as any path goes.
	maxTTL = 30
	// quiet is after how many TTLs without any answer nothing more is expected.
	quiet = 5
	// spacing is the pace of probes; firstTimeout how long answers are waited for while no round trip is known.
	spacing, firstTimeout  = 10 * time.Millisecond, time.Second
	pairSpacing            = 20 * time.Millisecond
	minTimeout, maxTimeout = 200 * time.Millisecond, 2 * time.Second
	// politePause is longer than common limits on ICMP errors want between two of them (Linux: 1 s, Cisco IOS: 500 ms).
	politePause = 1100 * time.Millisecond
)

// Options shape a climb. The zero value is usable.
type Options struct {
	// Arrivals counts an answer of the peer itself as one behind the last router: whoever does not get it is lost. It is for probes that the
	// peer would answer alike. Else only what routers answer is compared.
	Arrivals bool
	// Tries is how often in a row a probe must at least stay unanswered where another is answered, to count as lost; 0 means DefaultTries.
	Tries int
	// Packets is the most that may be sent; 0 means 150.
	Packets int
	// Seed makes the order of confirmations.
	Seed uint64
}

const defaultPackets = 150

// A climber sends the probes of one ladder.
type climber struct {
	to      volley.Sender
	runners []Runner
	opts    Options
	result  Result
	rtt     time.Duration
	coin    volley.Coin
}

// Run sends the probes of all runners with rising TTL and finds out how far each gets.
func Run(ctx context.Context, to volley.Sender, runners []Runner, opts Options) (*Result, error) {
	if opts.Packets == 0 {
		opts.Packets = defaultPackets
	}
	if opts.Tries == 0 {
		opts.Tries = DefaultTries
	}
	c := &climber{to: to, runners: runners, opts: opts, coin: volley.Coin{Seed: opts.Seed}}
	for _, r := range runners {
		c.result.Climbs = append(c.result.Climbs, Climb{Name: r.Name})
	}
	for base := 1; base <= maxTTL && !c.over(base); base += rungs {
		var targets []target
		for ttl := base; ttl < base+rungs; ttl++ {
			for i := range runners {
				if c.result.Climbs[i].Arrived() == 0 && c.result.Climbs[i].Err == nil {
					targets = append(targets, target{i, ttl})
				}
			}
		}
		if err := c.send(ctx, targets, spacing); err != nil {
			return nil, err
		}
	}
	for i := range runners {
		if err := c.contest(ctx, i); err != nil {
			return nil, err
		}
	}
	return &c.result, nil
}

// over tells whether there is nothing to learn from a TTL of base or more.
func (c *climber) over(base int) bool {
	last, all := 0, true
	for i := range c.result.Climbs {
		climb := &c.result.Climbs[i]
		last = max(last, climb.Last())
		all = all && climb.Arrived() > 0
	}
	distance := c.result.Distance()
	return all || distance > 0 && base > distance || base > last+quiet
}

// A target is one probe to send.
type target struct{ runner, ttl int }

// send sends probes and records what became of them.
func (c *climber) send(ctx context.Context, targets []target, pace time.Duration) error {
	if c.result.Packets+len(targets) > c.opts.Packets {
		targets = targets[:max(0, c.opts.Packets-c.result.Packets)]
	}
	shots, fired := make([]*volley.Shot, 0, len(targets)), make([]target, 0, len(targets))
	for _, t := range targets {
		r := &c.runners[t.runner]
		packet, err := r.Packet(uint8(t.ttl)) //nolint:gosec // at most maxTTL
		if err != nil {
			c.result.Climbs[t.runner].Err = fmt.Errorf("%s: %w", r.Name, err)
			continue
		}
		packet.TTL = uint8(t.ttl) //nolint:gosec // at most maxTTL
		shots, fired = append(shots, &volley.Shot{Packet: packet, Accept: r.Accept}), append(fired, t)
	}
	err := volley.Fire(ctx, c.to, shots, pace, c.patience())
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

// broken is the error of the first runner if not one of them can send.
func (c *climber) broken() error {
	for i := range c.result.Climbs {
		if c.result.Climbs[i].Err == nil {
			return nil
		}
	}
	return c.result.Climbs[0].Err
}

func (c *climber) patience() time.Duration {
	if c.rtt == 0 {
		return firstTimeout
	}
	return min(max(4*c.rtt, minTimeout), maxTimeout)
}

// contest finds out whether the probes of a runner get less far than those of another.
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
			// It is lost somewhere behind. That it is lost before the very next router has to be shown there.
			climb.Lost = false
			done, err = c.duel(ctx, runner, witness, ttls[:1])
		}
		if err != nil || done || climb.Last() == before {
			return err
		}
	}
}

// witness is the runner that was answered at most TTLs behind the last answer to another, and where; -1 for none.
func (c *climber) witness(runner int) (best int, ttls []int) {
	best = -1
	climb := &c.result.Climbs[runner]
	climb.Detour = false
	if climb.Arrived() > 0 || climb.Err != nil {
		return -1, nil
	}
	for i := range c.result.Climbs {
		if i == runner {
			continue
		}
		other := &c.result.Climbs[i]
		where := behind(climb, other, !c.opts.Arrivals)
		if len(where) == 0 {
			continue
		}
		if !sameWay(climb, other) {
			climb.Detour = true
			continue
		}
		if len(where) > len(ttls) {
			best, ttls = i, where
		}
	}
	return best, ttls
}

// atOnce is how many pairs a duel sends before it waits, as long as nothing is lost.
const atOnce = 3

// duel sends probes of both runners alternately, in an order drawn by a hash, until the first is answered, or is convincingly lost.
func (c *climber) duel(ctx context.Context, runner, witness int, ttls []int) (done bool, err error) {
	pace, controls, lost := pairSpacing, 0, 0
	climb, other := &c.result.Climbs[runner], &c.result.Climbs[witness]
	before := climb.Last()
	wanted := func() int { return max(tries(lost, controls), c.opts.Tries) }
	for missed := 0; missed < wanted() && missed < maxTries; {
		n := 1
		if pace == pairSpacing {
			n = min(atOnce, wanted()-missed)
		} else if err := volley.Pause(ctx, pace); err != nil {
			return false, err
		}
		sent, answered := c.result.Packets, other.answered()
		pairs := c.pairs(runner, witness, ttls, missed, n)
		if err := c.send(ctx, pairs, pace); err != nil {
			return false, err
		}
		if c.result.Packets-sent < len(pairs) {
			return true, nil // out of packets: nothing is proven
		}
		if climb.Last() > before {
			return false, nil
		}
		missed, controls = missed+n, controls+n
		if lost += n - (other.answered() - answered); lost > 0 {
			pace = politePause // somebody loses packets, or limits their rate
		}
		climb.Tries, climb.Answered = missed, controls-lost
	}
	climb.Lost = climb.Answered >= 2 && climb.Tries >= wanted()
	if climb.Lost {
		climb.Witness = other.Name
	}
	return true, nil
}

// pairs are the next n pairs of a duel.
func (c *climber) pairs(runner, witness int, ttls []int, first, n int) (pairs []target) {
	for i := range n {
		ttl := ttls[(first+i)%len(ttls)]
		one, two := target{runner, ttl}, target{witness, ttl}
		if c.coin.Heads() {
			one, two = two, one
		}
		pairs = append(pairs, one, two)
	}
	return pairs
}
