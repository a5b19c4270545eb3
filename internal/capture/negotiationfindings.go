package capture

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/ike"
)

const (
	// A message is unanswered when it was sent this often, or at least twice over this time. Peers
	// repeat after 0.5 to 8 s (RFC 7296, section 2.1); an unanswered scan is not a fault.
	stuckSent = 3
	stuckTime = 15 * time.Second
)

func exchangeName(typ uint8) string {
	if name, ok := ike.ExchangeName(typ); ok {
		return name
	}
	return fmt.Sprintf("exchange %d", typ)
}

// unordered returns two addresses in an order that does not depend on their direction.
func unordered(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// pairNegotiations judges the negotiations of a pair. A hung or refused one is a fault only without
// later success.
func (j *judge) pairNegotiations(p *Pair, all []*Negotiation) {
	var established time.Time
	var failed []Finding
	var ends []time.Time
	refused := make(map[string]int)
	probes := 0
	for _, n := range all {
		n.carried(p)
		f, stuck := j.stuck(n)
		n.finish(stuck)
		rejected, is := j.rejected(n)
		switch {
		case n.Probe:
			probes++
			continue
		case is:
			failed, ends = append(failed, rejected), append(ends, n.Last)
		case n.Refused != "" && !n.Established:
			refused[n.Refused]++
		}
		if stuck {
			failed, ends = append(failed, f), append(ends, n.Last)
		}
		if n.Established {
			established = later(established, n.Last)
		}
		if n.OtherResponder.IsValid() {
			j.merge(Finding{Name: findOther, Src: n.Responder, Dst: n.Initiator, Summary: fmt.Sprintf(
				"%s asked %s, and %s answered: firewalls and NAT drop such answers, and an initiator may ignore them", n.Initiator, n.Responder, n.OtherResponder)})
		}
	}
	for i, f := range failed {
		f.Fault = !established.After(ends[i])
		j.merge(f)
	}
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		j.conclude(Finding{Name: findRefused, Src: p.A, Dst: p.B, Summary: fmt.Sprintf(
			"%s refused unencrypted with %s: the messages pass; this is a matter of configuration (or of a probe that needs no more)", negotiationsText(refused[name]), name)})
	}
	if probes > 0 {
		j.conclude(Finding{Name: findProbes, Src: p.A, Dst: p.B, Summary: fmt.Sprintf(
			"%s by ipsec_path_exporter (by its Vendor ID) between %s and %s: a refusal is the answer that they ask for", counted(probes, "probe"), p.A, p.B)})
	}
}

func negotiationsText(n int) string {
	if n == 1 {
		return "1 negotiation was"
	}
	return fmt.Sprintf("%d negotiations were", n)
}

// merge adds a conclusion, or adds its evidence to the one like it.
func (j *judge) merge(f Finding) {
	for i := range j.out.Findings {
		if g := &j.out.Findings[i]; g.Name == f.Name && g.Src == f.Src && g.Dst == f.Dst && g.Fault == f.Fault {
			if len(g.Evidence) < maxLines {
				g.Evidence = append(g.Evidence, append([]string{f.Summary}, f.Evidence...)...)
			}
			return
		}
	}
	j.conclude(f)
}

// stuck reports whether a negotiation hangs, and where. Src and Dst of the conclusion are the
// direction of the message that got no answer or did not come.
func (j *judge) stuck(n *Negotiation) (Finding, bool) {
	for _, m := range slices.Backward(n.messages) {
		waited := j.out.Last.Sub(m.first)
		switch {
		case m.again >= stuckSent-1 && m.sent >= stuckSent && !n.Established:
			return j.unheard(n, m), true
		case !m.expects || m.answered:
		case m.sent >= stuckSent || n.Begun && m.sent > 1 && waited >= stuckTime:
			return j.unanswered(n, m), true
		}
	}
	if f, is := j.awaitsXAUTH(n); is {
		return f, true
	}
	return j.deadPeer(n)
}

// unanswered is about a message that no answer to is in the capture.
func (j *judge) unanswered(n *Negotiation, m *message) Finding {
	f := Finding{Name: findStuck, Src: m.src, Dst: m.dst, Evidence: []string{j.messageLine(n, m)}}
	if n.Established {
		f.Summary = fmt.Sprintf("IKEv%d: %s %s of %s, of an SA that was up, was sent %s and not answered by %s",
			n.Version, article(m), exchangeName(m.exchange.typ), m.src, times(m.sent), m.dst)
		return f
	}
	f.Summary = fmt.Sprintf("IKEv%d hangs in %s: %s %s of %s (%d bytes of IKE%s) was sent %s, and no answer of %s is in this capture until its end, %.1f s later",
		n.Version, m.step(), article(m), exchangeName(m.exchange.typ), m.src, m.length, m.inFragments(), times(m.sent), m.dst, j.out.Last.Sub(m.first).Seconds())
	if parts := m.missingText(); parts != "" {
		f.Summary += "; " + parts + " never arrived here, so it is lost before this capture"
	}
	if r := n.partialAnswer(m); r != nil {
		f.Src, f.Dst = r.src, r.dst
		f.Summary += fmt.Sprintf("; of the answer of %s, %s never arrived here", r.src, r.missingText())
		f.Evidence = append(f.Evidence, j.messageLine(n, r))
		return f
	}
	if n.Begun && j.silent(m.dst, m.src) {
		f.Name = findSilent
		f.Summary += "; nothing else arrived from there either"
	}
	return f
}

// partialAnswer returns the answer to m of which IKE fragments are missing.
func (n *Negotiation) partialAnswer(m *message) *message {
	for _, r := range slices.Backward(n.messages) {
		if r.src != m.src && r.exchange == m.exchange && r.missingText() != "" {
			return r
		}
	}
	return nil
}

// silent reports that nothing at all came this way.
func (j *judge) silent(src, dst netip.Addr) bool {
	p := j.pairs[unordered(src, dst)]
	if p == nil {
		return true
	}
	there, _ := p.direction(src)
	return there.last == [kinds]time.Time{} && there.FirstFragments+there.LaterFragments == 0
}

// unheard is about a message that is sent again although the answer to it is in the capture.
func (j *judge) unheard(n *Negotiation, m *message) Finding {
	return Finding{
		Name: findStuck, Src: m.dst, Dst: m.src, Evidence: []string{j.messageLine(n, m)},
		Summary: fmt.Sprintf("IKEv%d hangs in %s: %s sent its %s %s, %s after %s had answered it: the answer is in this capture but does not reach %s, or is not accepted there",
			n.Version, m.step(), m.src, exchangeName(m.exchange.typ), times(m.sent), times(m.again), m.dst, m.src),
	}
}

// awaitsXAUTH is about a client of Easy VPN that finished phase 1 and gets no request for the
// password.
func (j *judge) awaitsXAUTH(n *Negotiation) (Finding, bool) {
	phase1 := n.distinct[exchangeID{typ: ike.ExchangeAggressive}] >= aggressiveMessages || n.distinct[exchangeID{typ: ike.ExchangeMain}] >= mainMessages
	if !n.Begun || !n.XAUTH || !phase1 || n.exchange(ike.ExchangeTransaction) != nil || j.out.Last.Sub(n.Last) < stuckTime {
		return Finding{}, false
	}
	last := n.messages[len(n.messages)-1]
	return Finding{
		Name: findStuck, Src: n.Responder, Dst: n.Initiator, Evidence: []string{j.messageLine(n, last)},
		Summary: fmt.Sprintf("IKEv1 hangs in XAUTH: %s is complete and both ends agreed on XAUTH, but no XAUTH request of %s is in this capture in the %.1f s that follow "+
			"(an ASA calls this AM_TM_INIT_XAUTH_V6C at the client)", last.stage, n.Responder, j.out.Last.Sub(last.first).Seconds()),
	}, true
}

func article(m *message) string {
	switch {
	case m.exchange.typ < ike.ExchangeIKESAInit:
		return "the message"
	case m.response:
		return "the response"
	}
	return "the request"
}

// step is where a negotiation hangs that waits with this message.
func (m *message) step() string { return cmp.Or(m.stage, exchangeName(m.exchange.typ)) }

func (m *message) inFragments() string {
	switch {
	case m.total > 1:
		return fmt.Sprintf(" in %d of %d IKE fragments", len(m.parts), m.total)
	case m.fragments < 2:
		return ""
	}
	return fmt.Sprintf(", in %d IP fragments each time", m.fragments)
}

func (j *judge) messageLine(n *Negotiation, m *message) string {
	ids := make([]string, 0, len(m.ids))
	for _, id := range m.ids {
		ids = append(ids, fmt.Sprintf("0x%04x", id))
	}
	return fmt.Sprintf("%s packet %d: initiator SPI %s, %s, message id %08x, %s to %s, %s; sent %s until %s; IP ids %s",
		j.since(m.first), m.number, n.InitiatorSPI, exchangeName(m.exchange.typ), m.exchange.id, m.src, m.dst, m.kind, times(m.sent), j.since(m.last), strings.Join(ids, ", "))
}
