package pmtu

import (
	"context"
	"errors"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// measure measures by one method.
func (c *Collector) measure(ctx context.Context, m collectors.Method, route netio.Route, before []Result) (Result, error) {
	st := c.state(m)
	if route.Tunnel != "" {
		return inTunnel(m, route), nil
	}
	earlier, postponed := c.postponed(ctx, m, st, before)
	if r, ok := c.unsearched(m, route); ok {
		return r, nil
	}
	if postponed {
		return earlier, nil
	}
	a, err := c.attempt(ctx, m, route, nil)
	if err != nil {
		return Result{}, err
	}
	return c.conclude(ctx, a)
}

// state returns what is known by a method.
func (c *Collector) state(m collectors.Method) *methodState {
	if c.states[m] == nil {
		c.states[m] = &methodState{}
	}
	return c.states[m]
}

func inTunnel(m collectors.Method, route netio.Route) Result {
	return Result{Method: m, State: search.Inconclusive, Reason: collectors.CheckRoute(route).Error(), At: time.Now()}
}

// unsearched returns a result without a search where the peer is known not to answer.
func (c *Collector) unsearched(m collectors.Method, route netio.Route) (r Result, ok bool) {
	if r, ok = c.answersNothing(m, time.Now()); ok {
		c.leave(&r, route)
	}
	return r, ok
}

// leave keeps a result without a search.
func (c *Collector) leave(r *Result, route netio.Route) {
	st := c.state(r.Method)
	r.LinkBytes = min(route.LinkMTU, maxPacket)
	st.search = nil
	c.learn(st, r)
}

// An attempt is a search that has ended, before anything follows from it.
type attempt struct {
	st     *methodState
	p      *prober
	search *search.Search
	result Result
	// withheld means that the search would have sent too much to a peer that does not answer, left
	// that there was none.
	withheld, left bool
}

// attempt makes the search of a method. It changes nothing but the state of this method. Where it
// misses an answer, there is a doubt.
func (c *Collector) attempt(ctx context.Context, m collectors.Method, route netio.Route, d *doubt) (*attempt, error) {
	st, start := c.state(m), time.Now()
	s, p := c.begin(m, st, route, start)
	p.doubt = d
	drops := c.drops()
	if err := p.run(ctx, s); err != nil {
		st.search = nil
		if errors.Is(err, silence.ErrBudget) {
			return &attempt{result: c.withheld(p, s, err, start), withheld: true}, nil
		}
		return nil, err
	}
	a := &attempt{st: st, p: p, search: s, result: p.result(s, time.Since(start))}
	c.trust(m, st, &a.result, min(route.LinkMTU, maxPacket))
	if st.doubtful(&a.result) && c.drops() != drops {
		st.retract(&a.result)
	}
	return a, nil
}

// conclude returns what follows from a search, and keeps it.
func (c *Collector) conclude(ctx context.Context, a *attempt) (Result, error) {
	st, r := a.st, a.result
	switch {
	case a.left:
		c.leave(&r, c.routes[r.Method])
		return r, nil
	case a.withheld:
		return r, nil
	}
	if err := c.hear(ctx, a.p, st, &r); err != nil {
		return Result{}, err
	}
	st.search, st.prober = nil, nil
	if a.search.Verdict().Resumable {
		st.search, st.prober = a.search, a.p
	}
	c.learn(st, &r)
	if c.opts.Done != nil {
		c.opts.Done(r)
	}
	return r, nil
}
