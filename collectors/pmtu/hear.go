package pmtu

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// A path is a black hole only if its routers do not report the limit. No PTB arrived shows that only
// if one would have arrived: a rate limit on ICMP, which other hosts use up, drops most of them. So
// larger packets are sent in pairs with a control that is answered by ICMP as well, and the loss of
// the answers to the control says how many PTBs must stay away. The control is a small echo, or a
// larger packet of another method that was answered by a PTB in this round or the one before.
const (
	// firstEchoes are sent at once: where all are answered, ICMP is not limited.
	firstEchoes = 5
	// deafAfter is the number of echoes without any answer that show that ICMP does not come back at
	// all, deafAfterPTB that of a path that has reported its limit before.
	deafAfter, deafAfterPTB = 16, 24
	// maxHearing is the number of pairs after which no conclusion is drawn.
	maxHearing = 24
	// deafPace is the pace of pairs while no echo is answered.
	deafPace = 400 * time.Millisecond
	// controlSpacing is the pace of the probes that are sent at once.
	controlSpacing = 20 * time.Millisecond
	// hearings is how often a black hole is tested in this way, by different rounds.
	hearings = 2
)

// unheard says how many larger packets must stay without a PTB.
func unheard() matched.Rule {
	return matched.Rule{Alpha: 1e-6, PriorLost: 1, PriorSent: 5, Least: 3}
}

// A hearing compares PTBs with other ICMP.
type hearing struct {
	c              *Collector
	method, answer *prober
	bytes          int // that pass
	// size is that of the control. ptb means that the control is to be answered by a PTB.
	size       int
	ptb        bool
	rtt        time.Duration
	tested     []*volley.Shot
	sent, lost int // controls
}

// hear tests whether PTBs would have arrived that a black hole rests on.
func (c *Collector) hear(ctx context.Context, p *prober, st *methodState, r *Result) error {
	if r.State != search.BlackHole || !c.opts.Locate || st.heard.bytes == r.Bytes && st.heard.times >= hearings {
		return nil
	}
	h := c.hearing(p, r)
	if h.answer == nil {
		return nil // no ICMP of this way can be measured
	}
	if c.heardAlready(h) {
		st.hearAgain(r.Bytes)
		return nil
	}
	err := h.run(ctx)
	if c.unanswered = 0; h.lost == h.sent && !h.ptb {
		c.unanswered = h.sent
	}
	switch {
	case h.deaf():
		c.listened = c.rounds
	case err == nil && !h.ptb && h.lost == 0 && len(h.tested) == 0:
		c.heard = c.rounds
	}
	if err != nil {
		return context.Cause(ctx) // nil where only the control could not be sent
	}
	ptb, passed := h.outcome()
	switch {
	case passed:
		r.State, r.Reason = search.Inconclusive, fmt.Sprintf("a packet of %d bytes has passed since", r.Bytes+1)
		return nil
	case ptb != nil:
		r.State, r.PTBFrom, r.PTBMTU = search.Reduced, ptb.From, ptb.MTU
		r.PTBReceived++
		return nil
	case !h.deaf() && !h.convincing():
		r.State, r.Reason = search.Inconclusive, fmt.Sprintf(
			"ICMP is lost or rate limited: no PTB came for %d packets of %d bytes, and %d of %d controls were answered",
			len(h.tested), r.Bytes+1, h.sent-h.lost, h.sent)
		return nil
	}
	st.hearAgain(r.Bytes)
	return nil
}

// heardAlready reports whether the echoes of this round have shown what the hearing is to show, where all
// methods are searched side by side: that ICMP comes back, or that none does.
func (c *Collector) heardAlready(h *hearing) bool {
	return c.opts.Once != nil && !h.ptb && (c.heard == c.rounds || c.listened == c.rounds && h.deaf())
}

// hearAgain counts how often it was shown that PTBs would have arrived for a black hole.
func (st *methodState) hearAgain(bytes int) {
	if st.heard.bytes != bytes {
		st.heard = heard{bytes: bytes}
	}
	st.heard.times++
}

// hearing chooses the control. There is none where only this method takes its way.
func (c *Collector) hearing(p *prober, r *Result) *hearing {
	h := &hearing{c: c, method: p, bytes: r.Bytes, rtt: r.RoundTrip}
	for _, m := range c.beside(r.Method) {
		if st := c.states[m]; st != nil && st.bytes == r.Bytes && st.reported > 0 && st.reported >= c.rounds-1 {
			h.answer, h.size, h.ptb = c.prober(m, st, p.began), r.Bytes+1, true
			return h
		}
	}
	if !c.together(collectors.ICMP, r.Method) {
		return h
	}
	h.answer = c.prober(collectors.ICMP, &methodState{}, p.began)
	h.size, h.sent, h.lost = h.answer.control(), c.unanswered, c.unanswered
	return h
}

func (h *hearing) run(ctx context.Context) error {
	if !h.ptb {
		controls := [firstEchoes]bool{}
		for i := range controls {
			controls[i] = true
		}
		before := h.lost
		err := h.fire(ctx, controls[:]...)
		if lost := h.lost - before; lost < firstEchoes { // ICMP comes back again
			h.sent, h.lost = firstEchoes, lost
		}
		if err != nil || h.lost == 0 {
			return err // the search itself has waited for as many PTBs as no loss demands
		}
	}
	for !h.over() {
		pace := matched.PolitePause
		if h.lost == h.sent && !h.ptb {
			pace = deafPace
		}
		if err := volley.Pause(ctx, pace); err != nil {
			return err
		}
		controlFirst := matched.Heads(h.c.opts.Seed+h.c.searches.Load(), uint64(len(h.tested)))
		if err := h.fire(ctx, controlFirst, !controlFirst); err != nil {
			return err
		}
	}
	return nil
}

// fire sends controls and larger packets.
func (h *hearing) fire(ctx context.Context, controls ...bool) error {
	shots := make([]*volley.Shot, 0, len(controls))
	for _, control := range controls {
		p, size := h.method, h.bytes+1
		if control {
			p, size = h.answer, h.size
		}
		shot, err := p.shot(size, "do ICMP errors arrive?")
		if err != nil {
			return err
		}
		shots = append(shots, shot)
	}
	if err := volley.Fire(ctx, h.c.network, shots, controlSpacing, h.patience()); err != nil {
		return err
	}
	for i, s := range shots {
		a := s.Answer()
		h.rtt = max(h.rtt, a.RoundTrip)
		switch {
		case !controls[i]:
			h.tested = append(h.tested, s)
			continue
		case h.ptb && a.Outcome != netio.TooBig, !h.ptb && !a.Arrived():
			h.lost++
		}
		h.sent++
	}
	return nil
}

// outcome returns a usable PTB for a larger packet, if one has come, and whether one has passed.
func (h *hearing) outcome() (ptb *netio.Answer, passed bool) {
	for _, s := range h.tested {
		a := s.Answer()
		if passed = h.method.reached(&a); passed {
			return nil, true
		}
		if a.Outcome == netio.TooBig && a.MTU <= h.bytes {
			ptb = &a
		}
	}
	return ptb, false
}

// over reports whether more pairs would show nothing more.
func (h *hearing) over() bool {
	ptb, passed := h.outcome()
	return len(h.tested) >= maxHearing || ptb != nil || passed || h.deaf() || h.convincing()
}

// deaf reports whether no control was answered, so that no PTB is to be expected either.
func (h *hearing) deaf() bool {
	enough := deafAfter
	for _, st := range h.c.states {
		if st != nil && st.sendsPTBs {
			enough = deafAfterPTB
		}
	}
	return h.sent >= enough && h.lost == h.sent && !h.ptb
}

// convincing reports whether PTBs would have arrived.
func (h *hearing) convincing() bool {
	loss := unheard().Loss(h.lost, h.sent)
	return h.lost == 0 && !h.ptb && len(h.tested) == 0 || unheard().Convincing(len(h.tested), h.sent-h.lost, loss)
}

// shot returns a probe of this size.
func (p *prober) shot(size int, purpose string) (*volley.Shot, error) {
	if err := p.allowed(); err != nil {
		return nil, err
	}
	packet, err := p.packet(size, p.method.String()+"-shot")
	if err != nil {
		return nil, err
	}
	packet.Purpose = purpose
	token := packet.Token // see volley.Shot
	return &volley.Shot{Packet: packet, Accept: func(a *netio.Answer) bool {
		return p.method == collectors.ICMP || p.understood(a, token)
	}}, nil
}
