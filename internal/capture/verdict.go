package capture

import (
	"fmt"
	"slices"
	"strings"

	"ipsec_path_exporter/internal/wire/icmp"
)

// judge draws the conclusions of one direction. a and b are the captures.
func (c *Comparison) judge(d *Crossing, a, b *Analysis) {
	if d.Sender == "" {
		if n := d.Lost + d.Part; n > 0 {
			c.conclude(d, findLossUnknown, false, fmt.Sprintf("%s from %s to %s are in one capture only, on either side, and the TTL does not show which capture is nearer to the sender: "+
				"at least one of the captures is incomplete", datagrams(n), d.Src, d.Dst), c.lines(d, d.lost))
		}
		return
	}
	sender, receiver := a, b
	if d.Sender == c.B {
		sender, receiver = b, a
	}
	if d.Part > 0 {
		c.judgePart(d, sender, receiver)
	}
	if d.Lost > 0 {
		c.judgeLost(d, receiver)
	}
	if d.Unsent > 0 {
		c.conclude(d, findIncomplete, false, fmt.Sprintf("%s from %s to %s are in %s and not in %s, at their sender: that capture is incomplete (its filter, its buffer, or another route)",
			datagrams(d.Unsent), d.Src, d.Dst, d.Receiver, d.Sender), nil)
	}
}

func (c *Comparison) conclude(d *Crossing, name string, fault bool, summary string, evidence []string) {
	if evidence == nil {
		evidence = []string{}
	}
	c.Findings = append(c.Findings, Finding{Name: name, Fault: fault, Src: d.Src, Dst: d.Dst, Summary: summary, Evidence: evidence})
}

// judgePart is about datagrams of which some fragments arrived.
func (c *Comparison) judgePart(d *Crossing, sender, receiver *Analysis) {
	firsts, answered, ike := 0, 0, 0
	for _, r := range d.part {
		if len(r.other.have) > 0 && r.other.have[0].from == 0 {
			firsts++
		}
		if r.kind.isIKE() {
			ike++
		}
		if m := r.other.message; m != nil && m.answered {
			answered++
		}
	}
	what := "fragmented datagrams"
	if ike == d.Part {
		what = "fragmented IKE datagrams"
	}
	which, rest := "fragments", "the others arrived"
	switch firsts {
	case d.Part:
		which, rest = "later fragments", "their first fragments arrived"
	case 0:
		which, rest = "first fragments", "their later fragments arrived"
	}
	s := fmt.Sprintf("%s of %s %s from %s to %s left %s and never reached %s: %s, with the same IP ids in both captures",
		which, count(d.Part, d.fragmented()), what, d.Src, d.Dst, d.Sender, d.Receiver, rest)
	lines := c.lines(d, d.part)
	filtered := receiver.LaterFragments == 0 && !reassemblyReported(d, sender) && !reassemblyReported(d, receiver)
	switch {
	case filtered && answered > 0:
		c.conclude(d, findFilter, false, s+fmt.Sprintf(". But %s of them were answered: so they arrived whole, and the filter of %s excludes later fragments. Capture by address, not by port",
			number(answered), d.Receiver), lines)
	case d.Part < minPattern:
		c.conclude(d, findFragments, false, s+". A single one may be chance", lines)
	case filtered:
		c.conclude(d, findFragments, true, s+". Fragments are dropped between the two, unless the filter of "+d.Receiver+
			" is by port (which excludes later fragments: the whole capture has none)", lines)
	default:
		c.conclude(d, findFragments, true, s+". Fragments are dropped between the two", lines)
	}
}

// fragmented counts the datagrams that were sent in fragments.
func (d *Crossing) fragmented() (n int) {
	for _, r := range d.sent {
		if r.fragments > 1 {
			n++
		}
	}
	return n
}

// reassemblyReported reports whether a capture has the receiver's ICMP error about missing fragments.
func reassemblyReported(d *Crossing, a *Analysis) bool {
	for _, p := range a.Pairs {
		if unordered(p.A, p.B) != unordered(d.Src, d.Dst) {
			continue
		}
		there, _ := p.direction(d.Src)
		for _, e := range there.Errors {
			if e.Name == icmp.NameReassemblyTimeout && slices.ContainsFunc(e.quotes, func(q quote) bool { return q.of != nil }) {
				return true
			}
		}
	}
	return false
}

// judgeLost is about datagrams that did not arrive at all.
func (c *Comparison) judgeLost(d *Crossing, receiver *Analysis) {
	s := fmt.Sprintf("%s datagrams from %s to %s left %s and never reached %s", count(d.Lost, d.Sent), d.Src, d.Dst, d.Sender, d.Receiver)
	lines := c.lines(d, d.lost)
	if receiver.Oversized > 0 {
		c.conclude(d, findLoss, false, s+": "+d.lostKinds()+". But "+d.Receiver+" has packets that the host merged (GRO), which may contain some of these: "+
			"turn that off for the capture (ethtool -K INTERFACE gro off)", lines)
		return
	}
	if name, pattern := d.pattern(); name != "" {
		c.conclude(d, name, true, s+": "+pattern, lines)
		return
	}
	c.conclude(d, findLoss, d.Lost >= minLost && d.Lost*lostShare >= d.Sent, s+": "+d.lostKinds()+", without a pattern", lines)
}

// pattern returns what the lost datagrams have in common and the others do not.
func (d *Crossing) pattern() (name, text string) {
	if d.Lost < minPattern {
		return "", ""
	}
	inFragments, smallest := 0, 1<<16
	arrivedInFragments, passed := 0, 0
	for _, r := range d.sent {
		switch {
		case r.other == nil:
			smallest = min(smallest, r.length)
			if r.fragments > 1 {
				inFragments++
			}
		case r.fragments > 1:
			arrivedInFragments++
		default:
			passed = max(passed, r.length)
		}
	}
	if inFragments == d.Lost && arrivedInFragments == 0 && passed > 0 {
		return findFragments, fmt.Sprintf("all of them were sent in fragments, and everything that was sent unfragmented (up to %d bytes) arrived. Not even their first fragments are in %s: "+
			"either all fragments are dropped, or that device captures only reassembled datagrams, as an ASA may", passed, d.Receiver)
	}
	if name, text := d.blocked(); name != "" {
		return name, text
	}
	if text := d.samePart(); text != "" {
		return findLoss, text
	}
	if d.Lost >= minLost && passed > 0 && smallest > passed {
		return findBlackHole, fmt.Sprintf("all of them are packets of %d bytes and more, and everything up to %d bytes arrived", smallest, passed)
	}
	return "", ""
}

// samePart names the IKE fragment that all lost datagrams are, empty if they are different ones.
func (d *Crossing) samePart() string {
	first := d.lost[0]
	if first.message == nil || first.message.total < 2 || slices.ContainsFunc(d.lost, func(r *record) bool {
		return r.message == nil || r.part != first.part || r.message.exchange != first.message.exchange
	}) {
		return ""
	}
	return fmt.Sprintf("all of them are IKE fragment %d of %d of %s, sent again each time", first.part, first.message.total, exchangeName(first.message.exchange.typ))
}

// blocked reports whether the lost datagrams are all datagrams of one kind that can be blocked.
func (d *Crossing) blocked() (name, text string) {
	var all []string
	others := 0
	for _, k := range d.Kinds {
		switch {
		case k.Lost == 0:
			others += k.Sent
		case k.Lost < k.Sent || k.Lost < minPattern && len(d.lost) != k.Lost:
			return "", ""
		default:
			all = append(all, k.Kind)
		}
	}
	if len(all) == 0 {
		return "", ""
	}
	text = "all of them are " + strings.Join(all, " and ")
	if others > 0 {
		text += fmt.Sprintf(", of which none arrived, while everything else did (%s)", datagrams(others))
	} else {
		text += ", and nothing arrived in this direction"
	}
	name = map[string]string{
		kindIKE.String(): "udp500_blocked", kindNATT.String(): "udp4500_blocked", kindESPinUDP.String(): "udp4500_blocked",
		kindESP.String(): "esp_blocked", kindAH.String(): "ah_blocked",
	}[all[0]]
	return name, text
}

func (d *Crossing) lostKinds() string {
	var s []string
	for _, k := range d.Kinds {
		if k.Lost > 0 {
			s = append(s, fmt.Sprintf("%d of %d %s", k.Lost, k.Sent, k.Kind))
		}
	}
	return strings.Join(s, ", ")
}

// lines describe single datagrams, by the clock of the capture of their sender.
func (c *Comparison) lines(d *Crossing, all []*record) []string {
	var lines []string
	for _, r := range first(all) {
		s := fmt.Sprintf("%s: packet %d of %s: %s, IP id 0x%04x, ", r.at.Format(timeFormat), r.number, d.Sender, r.kind, r.id)
		if r.fragments > 1 {
			s += fmt.Sprintf("%d bytes in %d fragments", r.have.bytes(), r.fragments)
		} else {
			s += fmt.Sprintf("%d bytes", r.length)
		}
		if r.message != nil {
			s += fmt.Sprintf(", %s message id %08x", exchangeName(r.message.exchange.typ), r.message.exchange.id)
			if r.message.total > 1 {
				s += fmt.Sprintf(", IKE fragment %d of %d", r.part, r.message.total)
			}
		}
		if o := r.other; o != nil {
			s += fmt.Sprintf("; in %s packet %d on: %d bytes in %d of the fragments, %d bytes are missing", d.Receiver, o.number, o.have.bytes(), o.fragments, r.missing())
		}
		lines = append(lines, s)
	}
	if n := len(all) - maxLines; n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	return lines
}

// timeFormat is for finding the packet in another tool.
const timeFormat = "2006-01-02 15:04:05.000000"

// count says "all 4" or "3 of 4".
func count(n, of int) string {
	if n == of {
		return fmt.Sprintf("all %d", n)
	}
	return fmt.Sprintf("%d of %d", n, of)
}
