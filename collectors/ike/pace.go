package ike

import (
	"context"
	"slices"
	"time"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// A peer that stays silent is asked less often. The first round is a full one. Two more confirm it, and
// are brief: they send the form that was answered last, alone. Where no form is known, or others found
// the ports silent before this one did, a brief round has one try of each, and two of the known form.
// Where requests of other peers of the address have shown the silence since the last round, a round
// sends nothing. Then a round is stretched over minutes:
//
//	turn      1        2        3        4       …
//	ike       known             form 1
//	natt               known             form 1  …
//
// One probe is sent in each turn that the address is given (package silence), on both ports
// alternately; where a form was answered before, every other probe is of that form. The first
// answer ends the stretched round, and the next one is a full one.

// fullPackets is more than any round sends.
const fullPackets = 2 * walkTries * int(forms)

// fullRounds is the number of silent rounds before they are stretched.
const fullRounds = 3

// A crawl is a stretched round.
type crawl struct {
	steps []crawlStep
	next  int
	turn  time.Time
	// asked is when the newest probes were sent, by both methods, also in earlier rounds.
	asked []time.Time
}

// freshRequests is how many unanswered probes in a row show again what full rounds have shown.
const freshRequests = 3

// silentAt returns when the oldest of the newest unanswered probes was sent that show the silence
// again, the zero time if there are too few of them.
func (c *crawl) silentAt(now time.Time) time.Time {
	if c == nil {
		return time.Time{}
	}
	decided := slices.DeleteFunc(slices.Clone(c.asked), func(at time.Time) bool { return now.Sub(at) < knownAgain })
	if len(decided) < freshRequests {
		return time.Time{}
	}
	return decided[len(decided)-freshRequests]
}

type crawlStep struct {
	w    *walk
	form ikeprobe.Form
}

// standing returns how the packets to the peer stand. They are mute if those to both ports are.
func (c *Collector) standing(now time.Time) silence.Standing {
	c.mu.Lock()
	target := c.target.Get()
	c.mu.Unlock()
	ike := c.opts.Silence.Standing(netio.Lane(target.Path, netio.UDP, target.IKE.Port), now)
	natt := c.opts.Silence.Standing(netio.Lane(target.Path, netio.UDP, target.IKE.NATTPort), now)
	ike.Mute, ike.Left = ike.Mute && natt.Mute, min(ike.Left, natt.Left)
	return ike
}

// crawls continues a stretched round, or begins one if the peer stays silent. It reports whether
// there is one, and when it continues.
func (c *Collector) crawls(ctx context.Context, now time.Time) (next time.Time, ok bool) {
	st := c.standing(now)
	if !c.stretches(&st, now) {
		return time.Time{}, false
	}
	c.mu.Lock()
	path := c.target.Get().Path
	lane := netio.Lane(path, netio.UDP, 0)
	for c.crawl.turn.IsZero() || !c.crawl.turn.After(now) && !c.opts.Silence.Take(lane, now) {
		c.crawl.turn = c.opts.Silence.Turn(path.Dst, now, now)
		c.gap = max(c.gap, c.crawl.turn.Sub(c.started))
	}
	if c.crawl.turn.After(now) {
		defer c.mu.Unlock()
		return c.crawl.turn, true
	}
	ended := c.endOfCrawl(now)
	packet, p := c.crawlOn(now)
	c.crawl.turn = c.opts.Silence.Turn(path.Dst, now, now.Add(MinGap))
	next, c.gap = c.crawl.turn, c.crawl.turn.Sub(now)
	c.mu.Unlock()
	c.report(ended, "")
	if packet != nil {
		c.network.Send(ctx, packet, knownAgain, p.onAnswer)
		c.mu.Lock()
		p.sent(now)
		c.mu.Unlock()
	}
	return next, true
}

// lanes are the lanes of both ports.
func (c *Collector) lanes() (ike, natt silence.Lane) {
	return netio.Lane(c.target.Get().Path, netio.UDP, c.target.Get().IKE.Port), netio.Lane(c.target.Get().Path, netio.UDP, c.target.Get().IKE.NATTPort)
}

// shown returns when the requests of all peers of the address began that show together that both
// ports are silent, the zero time if they do not. The caller holds the lock.
func (c *Collector) shown(now time.Time) time.Time {
	ike, natt := c.lanes()
	return c.opts.Silence.Shown(now, ike, natt)
}

// othersAsk reports whether others ask the ports now, and may show soon that they are silent. The caller
// holds the lock.
func (c *Collector) othersAsk(now time.Time) bool {
	const soon = 5 * time.Second // an answer has come by then
	ike, natt := c.lanes()
	asked := c.opts.Silence.Standing(ike, now).Asked
	if other := c.opts.Silence.Standing(natt, now).Asked; other.After(asked) {
		asked = other
	}
	return asked.After(c.asked) && now.Sub(asked) <= soon && !c.othersShow(now)
}

// shorten has a round send the known form alone if echo has stopped to be answered too: another form
// would not be answered either. The caller holds the lock.
func (c *Collector) shorten(now time.Time) {
	lane := netio.Lane(c.target.Get().Path, netio.Echo, 0)
	echo := c.opts.Silence.Standing(lane, now)
	if echo.Unanswered == 0 || now.Sub(echo.Answered) >= silence.Window || c.opts.Silence.Spoke(lane, now) {
		return
	}
	for i := range c.walks {
		c.walks[i].alone = true
	}
}

// othersShow reports whether requests of other peers have shown, since this one sent its last, that
// the address has gone silent. They may speak another version of IKE, so echo has to be silent too,
// and only since it was answered, or as nothing ever was. The caller holds the lock.
func (c *Collector) othersShow(now time.Time) bool {
	shown := c.shown(now)
	if !shown.After(c.asked) || !shown.After(c.started) || now.Sub(shown) > MinGap {
		return false
	}
	first, second := c.lanes()
	echo := c.opts.Silence.Standing(netio.Lane(c.target.Get().Path, netio.Echo, 0), now)
	ike, natt := c.opts.Silence.Standing(first, now), c.opts.Silence.Standing(second, now)
	never := ike.Answered.IsZero() && natt.Answered.IsZero()
	return echo.Mute && (echo.Answered.IsZero() && never || now.Sub(echo.Answered) < silence.Window)
}

// stretches reports whether rounds are stretched now, and begins or gives up the round if that is
// news.
func (c *Collector) stretches(st *silence.Standing, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.Woke.After(c.silentSince) && c.silentRounds >= fullRounds {
		c.silentRounds, c.silentSince = fullRounds-1, st.Woke // the host is back: one round at once
	}
	enough := st.Left >= fullPackets || st.Mute && st.Left >= c.briefPackets()
	c.starved = c.starved && !enough
	if c.active || !c.starved && (!st.Mute || c.silentRounds < fullRounds && enough) {
		c.endCrawl()
		return false
	}
	if c.crawl == nil {
		c.crawl = &crawl{}
		c.beginCrawl(now)
	}
	return true
}

// beginCrawl plans a stretched round. The caller holds the lock.
func (c *Collector) beginCrawl(now time.Time) {
	c.crawl.steps, c.crawl.next = nil, 0
	var plans [2][]ikeprobe.Form
	for i := range c.walks {
		w := &c.walks[i]
		w.begin(now, now, false, false)
		w.active, w.crawling = false, len(w.ladder) > 0
		plans[i] = w.crawlPlan()
	}
	for step := range max(len(plans[0]), len(plans[1])) {
		for i := range plans {
			if step < len(plans[i]) {
				c.crawl.steps = append(c.crawl.steps, crawlStep{&c.walks[i], plans[i][step]})
			}
		}
	}
}

// crawlPlan returns the forms that a stretched round tries, in this order.
func (w *walk) crawlPlan() (plan []ikeprobe.Form) {
	if !w.answered || !slices.Contains(w.ladder, w.last) {
		return w.ladder
	}
	plan = []ikeprobe.Form{w.last}
	for _, f := range w.ladder {
		if f != w.last {
			plan = append(plan, f, w.last)
		}
	}
	return plan
}

// crawlOn makes the packet of the next step, nil if there is none. The caller holds the lock.
func (c *Collector) crawlOn(now time.Time) (*netio.Packet, *probe) {
	for c.crawl.next < len(c.crawl.steps) {
		s := c.crawl.steps[c.crawl.next]
		c.crawl.next++
		if !s.w.crawling || !s.w.dialect.Allows(s.form) {
			continue
		}
		c.started, c.crawled = now, now
		c.crawl.asked = append(c.crawl.asked[max(0, len(c.crawl.asked)-freshRequests):], now)
		if packet, p := c.dispatch(s.w, s.form); packet != nil {
			return packet, p
		}
	}
	return nil, nil
}

// endOfCrawl settles a stretched round after its last step, plans the next one, and reports whether
// it did. The caller holds the lock.
func (c *Collector) endOfCrawl(now time.Time) bool {
	if c.crawl.next < len(c.crawl.steps) {
		return false
	}
	for i := range c.walks {
		if w := &c.walks[i]; w.crawling {
			w.exhausted()
		}
	}
	c.silentOn()
	c.beginCrawl(now)
	return true
}

// endCrawl gives up a stretched round. The caller holds the lock.
func (c *Collector) endCrawl() {
	c.crawl = nil
	for i := range c.walks {
		if w := &c.walks[i]; w.crawling {
			w.end()
		}
	}
}

// starve ends a round for which the address has been sent too much already: what is known of it
// stays, and the next round is a stretched one. A brief round need not end to show again that the
// peer is silent, nor one where the requests of other peers show it. The caller holds the lock.
func (c *Collector) starve(now time.Time) {
	enough := true
	shown := c.shown(now)
	for i := range c.walks {
		w := &c.walks[i]
		sent := 0
		for _, n := range w.sent {
			sent += int(n)
		}
		enough = enough && w.active && w.brief && sent > freshRequests // the last one was not sent
	}
	for i := range c.walks {
		switch w := &c.walks[i]; {
		case enough:
			w.settle(Silent)
		case !shown.IsZero() && w.active:
			w.adopt(shown)
		default:
			w.end()
		}
	}
	if enough || !shown.IsZero() {
		c.silentOn()
	}
	c.crawled = c.started // what was sent shows no end of the silence
	c.starved, c.active, c.promised = true, false, time.Time{}
}

// briefPackets is the number of packets of a brief round. The caller holds the lock.
func (c *Collector) briefPackets() (n int) {
	for i := range c.walks {
		if d := c.walks[i].dialect; d.Answered() {
			n += knownTries // alone
		} else {
			n += len(d.Ladder())
		}
	}
	return n
}

// turn returns when a round may begin: rounds to one address, of any peer, keep a gap.
func (c *Collector) turn(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active || c.othersShow(now) { // then it sends nothing
		return now
	}
	if c.reserved.IsZero() {
		c.reserved, c.spread = c.opts.Silence.Round(c.target.Get().Path.Dst, now, now), 0
	}
	if c.reserved.After(now) {
		c.spread = c.reserved.Sub(c.started)
		if soon := now.Add(2 * time.Second); soon.Before(c.reserved) && !c.opts.Silence.Spoke(netio.Lane(c.target.Get().Path, netio.Echo, 0), now) {
			return soon // others may have shown the silence by then
		}
		return c.reserved
	}
	c.reserved = time.Time{}
	return now
}

// every is the time between results in a state. A stretched round only shows silence: what it is slow
// to show is no reason to believe an earlier answer for longer. The caller holds the lock.
func (c *Collector) every(s State) time.Duration {
	if s == Silent {
		return max(c.opts.Interval, c.gap, c.spread)
	}
	return max(c.opts.Interval, c.spread)
}

// Backoff returns the time between the last probe to a peer that stays silent and the next one, 0
// at full pace.
func (c *Collector) Backoff() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crawl == nil {
		return 0
	}
	return c.gap
}

// silentOn counts rounds in a row in which neither method was answered. The caller holds the lock.
func (c *Collector) silentOn() {
	heard := slices.ContainsFunc(c.walks[:], func(w walk) bool { return w.result.State == Responding || w.result.State == Refused })
	if c.silentRounds++; heard {
		c.silentRounds = 0
	}
	if c.silentRounds == 1 {
		c.silentSince = c.started
	}
}
