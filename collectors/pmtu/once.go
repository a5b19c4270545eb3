package pmtu

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// A peer that is measured once, while a person waits, is searched by all methods side by side:
//
//	IKE    search ─────┐
//	NATT   search ─────┤ hear (one after the other) ─┬─ ladder: where are larger packets lost?
//	echo   search, or ─┘                             └─ search of the reverse path
//	       is any echo answered?
//
// Nothing that makes routers send other ICMP errors runs beside a search, nor beside what tests whether
// PTBs arrive: a router that limits the rate of its ICMP errors would save on the PTBs.

// A doubt is closed when a search first misses an answer, or when none will.
type doubt struct {
	once sync.Once
	some chan struct{}
	// cleared means that none did. It is valid once some is closed.
	cleared bool
}

func newDoubt() *doubt { return &doubt{some: make(chan struct{})} }

func (d *doubt) settle(cleared bool) {
	if d == nil {
		return
	}
	d.once.Do(func() {
		d.cleared = cleared
		close(d.some)
	})
}

// sideBySide measures by all methods at the same time.
func (c *Collector) sideBySide(ctx context.Context, out *Results) error {
	if ctx.Err() != nil {
		return fmt.Errorf("path MTU by %s: %w", c.order()[0], context.Cause(ctx))
	}
	attempts, err := c.attempts(ctx, out)
	failures := []error{err}
	for _, m := range c.order() {
		a := attempts[m]
		if a == nil {
			continue
		}
		r, err := c.conclude(ctx, a)
		if err != nil {
			failures = append(failures, fmt.Errorf("path MTU by %s: %w", m, err))
			continue
		}
		out.Results = append(out.Results, r)
	}
	out.BlackHole, out.Known = c.holds()
	c.publish(out)
	if sized := c.opts.Once.Sized; sized != nil {
		sized()
	}
	if c.opts.Locate {
		failures = append(failures, c.lookAtAll(ctx, out))
		c.attribute(out)
	}
	out.BlackHole, out.Known = c.holds()
	if !c.opts.Locate || echoHole(out) == nil {
		c.publish(out)
	}
	return errors.Join(failures...)
}

// attempts makes the searches of all methods. What is known without a search is added to the results.
func (c *Collector) attempts(ctx context.Context, out *Results) (all [collectors.NATT + 1]*attempt, err error) {
	var running, asking sync.WaitGroup
	var failures [len(all)]error
	d := newDoubt()
	for _, m := range c.searched(out) { // from here on only the attempts change what is known
		route := c.routes[m]
		if m == collectors.ICMP {
			running.Go(func() { all[m], failures[m] = c.attemptEcho(ctx, route, d) })
		} else {
			asking.Go(func() { all[m], failures[m] = c.attempt(ctx, m, route, d) })
		}
	}
	asking.Wait()
	d.settle(true)
	running.Wait()
	for m, err := range failures {
		if err != nil {
			failures[m] = fmt.Errorf("path MTU by %s: %w", collectors.Method(m), err)
		}
	}
	return all, errors.Join(failures[:]...)
}

// searched returns the methods to search by, and adds to the results what needs no search.
func (c *Collector) searched(out *Results) (methods []collectors.Method) {
	for _, m := range c.opts.Methods {
		route, ok := c.routes[m]
		if !ok {
			continue
		}
		c.state(m)
		if route.Tunnel != "" {
			out.Results = append(out.Results, inTunnel(m, route))
			continue
		}
		if m != collectors.ICMP { // for echo see attemptEcho
			if r, ok := c.unsearched(m, route); ok {
				out.Results = append(out.Results, r)
				continue
			}
		}
		methods = append(methods, m)
	}
	return methods
}

// attemptEcho makes the search by echo when other echo requests do not matter any more, or where those
// are not answered, finds out whether any is: a black hole to IKE rests on that.
func (c *Collector) attemptEcho(ctx context.Context, route netio.Route, d *doubt) (*attempt, error) {
	unanswered, err := c.opts.Once.Quiet(ctx)
	if err != nil {
		return nil, err
	}
	if r, ok := c.answersNothing(collectors.ICMP, time.Now()); ok {
		return &attempt{result: r, left: true}, nil
	}
	if unanswered == 0 {
		return c.searchEcho(ctx, route)
	}
	answered := false
	select {
	case <-d.some:
		if !d.cleared {
			answered, err = c.listen(ctx, unanswered)
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil && !answered { // answers may have come late
		unanswered, err = c.opts.Once.Outcome(ctx)
		answered = unanswered == 0
	}
	if err != nil {
		return nil, err
	}
	if answered {
		return c.searchEcho(ctx, route)
	}
	r := Result{Method: collectors.ICMP, State: search.Unreachable, At: time.Now(), Reason: "not searched: small packets are not answered"}
	return &attempt{result: r, left: true}, nil
}

func (c *Collector) searchEcho(ctx context.Context, route netio.Route) (*attempt, error) {
	defer c.opts.Once.EchoAlone()()
	return c.attempt(ctx, collectors.ICMP, route, nil)
}

// listen sends echoes until one is answered, or until so many in a row were not that no ICMP comes back
// at all. Some were not already.
func (c *Collector) listen(ctx context.Context, unanswered int) (answered bool, err error) {
	h := &hearing{c: c, answer: c.prober(collectors.ICMP, &methodState{}, time.Now()), rtt: c.opts.Once.RoundTrip()}
	h.size, h.sent, h.lost = h.answer.control(), unanswered, unanswered
	burst := [firstEchoes]bool{}
	for i := range burst {
		burst[i] = true
	}
	for controls := burst[:]; !h.deaf(); controls = burst[:1] {
		if h.fire(ctx, controls...) != nil {
			return false, context.Cause(ctx) // nil where only the echo could not be sent
		}
		if h.lost < h.sent {
			return true, nil
		}
		if err := volley.Pause(ctx, deafPace-h.patience()); err != nil {
			return false, err
		}
	}
	c.unanswered, c.listened = h.sent, c.rounds
	return false, nil
}

// lookAtAll adds to a round the place of its black hole, and the reverse path.
func (c *Collector) lookAtAll(ctx context.Context, out *Results) error {
	var echo *Result
	var holes []*Result
	for i := range out.Results {
		r := &out.Results[i]
		c.forgetPlace(r)
		switch {
		case r.Method == collectors.ICMP:
			echo = r
		case r.State == search.BlackHole:
			holes = append(holes, r)
		}
	}
	var placing, looking error
	var both sync.WaitGroup
	both.Go(func() {
		for _, r := range holes {
			placing = errors.Join(placing, c.locate(ctx, r))
		}
	})
	if echo != nil {
		end := c.opts.Once.EchoAlone()
		if err := c.lookBack(ctx, out, echo, c.routes[collectors.ICMP]); err != nil {
			looking = fmt.Errorf("reverse path: %w", err)
		}
		end()
	}
	both.Wait()
	return errors.Join(placing, looking)
}

// patience is how long hearing waits for an answer.
func (h *hearing) patience() time.Duration { return matched.Patience(h.rtt, matched.LeastPatience) }
