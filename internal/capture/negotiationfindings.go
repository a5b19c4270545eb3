package capture

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/ike"
)

const (
	// A message waits for its answer in vain when it was sent this often, or at least twice and has waited this long. Who is in earnest sends again
	// after a few seconds (daemons: 0.5 to 8 s; RFC 7296, section 2.1); a scanner asks once, and that nobody answers it is no fault.
	stuckSent = 3
	stuckTime = 15 * time.Second
)

func exchangeName(typ uint8) string {
	if name, ok := ike.ExchangeName(typ); ok {
		return name
	}
	return fmt.Sprintf("exchange %d", typ)
}

// key is the pair regardless of who began.
func (p Pair) key() [2]netip.Addr {
	if p.B.Less(p.A) {
		return [2]netip.Addr{p.B, p.A}
	}
	return [2]netip.Addr{p.A, p.B}
}

func (n *Negotiation) pair() [2]netip.Addr { return Pair{A: n.Initiator, B: n.Responder}.key() }

// pairNegotiations judges the negotiations of a pair. One that hung does not matter any more once a later one got through.
func (a *analyzer) pairNegotiations(p *Pair, all []*Negotiation) {
	var established time.Time
	for _, n := range all {
		if n.authenticated && p.Forward.ESP+p.Forward.ESPinUDP > 0 && p.Back.ESP+p.Back.ESPinUDP > 0 && !n.Established {
			n.Established, n.Stage = true, "established"
		}
		if n.Established {
			established = later(established, n.Last)
		}
	}
	refused := make(map[string]int)
	for _, n := range all {
		if n.Refused != "" && !n.Established {
			refused[n.Refused]++
		}
		if f, stuck := a.stuck(n); stuck {
			f.Fault = !established.After(n.Last)
			a.merge(f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		a.conclude(Finding{Name: findRefused, Src: p.A, Dst: p.B, Summary: fmt.Sprintf(
			"%s refused in the clear with %s: the messages get through, it is a matter of configuration (or of a probe that wants no more)", negotiationsText(refused[name]), name)})
	}
}

func negotiationsText(n int) string {
	if n == 1 {
		return "1 negotiation was"
	}
	return fmt.Sprintf("%d negotiations were", n)
}

// merge adds a conclusion, or adds its evidence to the one like it.
func (a *analyzer) merge(f Finding) {
	for i := range a.out.Findings {
		if g := &a.out.Findings[i]; g.Name == f.Name && g.Src == f.Src && g.Dst == f.Dst && g.Fault == f.Fault {
			if len(g.Evidence) < maxLines {
				g.Evidence = append(g.Evidence, append([]string{f.Summary}, f.Evidence...)...)
			}
			return
		}
	}
	a.conclude(f)
}

// stuck tells whether a negotiation hangs, and where. Src and Dst of the conclusion are the direction of the message that got no answer or did
// not come.
func (a *analyzer) stuck(n *Negotiation) (Finding, bool) {
	for i := range n.messages {
		m := n.messages[len(n.messages)-1-i]
		waited := a.out.Last.Sub(m.first)
		switch {
		case m.again >= stuckSent-1 && m.sent >= stuckSent && !n.Established:
			return a.unheard(n, m), true
		case !m.expects || m.answered:
		case m.sent >= stuckSent || n.Begun && m.sent > 1 && waited >= stuckTime:
			return a.unanswered(n, m), true
		}
	}
	return a.awaitsXAUTH(n)
}

// unanswered is about a message that no answer to is in the capture.
func (a *analyzer) unanswered(n *Negotiation, m *message) Finding {
	f := Finding{Name: findStuck, Src: m.src, Dst: m.dst, Evidence: []string{a.messageLine(n, m)}}
	if n.Established {
		f.Summary = fmt.Sprintf("IKEv%d: %s %s of %s, of an SA that was up, was sent %s and not answered by %s",
			n.Version, article(m), exchangeName(m.exchange.typ), m.src, times(m.sent), m.dst)
		return f
	}
	f.Summary = fmt.Sprintf("IKEv%d hangs in %s: %s %s of %s (%d bytes of IKE%s) was sent %s, and no answer of %s is in this capture until its end, %.1f s later",
		n.Version, m.step(), article(m), exchangeName(m.exchange.typ), m.src, m.length, m.inFragments(), times(m.sent), m.dst, a.out.Last.Sub(m.first).Seconds())
	if n.Begun && a.silent(m.dst, m.src) {
		f.Name = findSilent
		f.Summary += "; nothing else came from there either"
	}
	return f
}

// silent tells that nothing at all came this way.
func (a *analyzer) silent(src, dst netip.Addr) bool {
	p := a.pair(src, dst, false)
	if p == nil {
		return true
	}
	there, _ := p.direction(src)
	return there.last == [kinds]time.Time{} && there.FirstFragments+there.LaterFragments == 0
}

// unheard is about a message that is sent again although the answer to it is in the capture.
func (a *analyzer) unheard(n *Negotiation, m *message) Finding {
	return Finding{
		Name: findStuck, Src: m.dst, Dst: m.src, Evidence: []string{a.messageLine(n, m)},
		Summary: fmt.Sprintf("IKEv%d hangs in %s: %s sent its %s %s, %s after %s had answered it: the answer is in this capture but does not reach %s, or is not accepted there",
			n.Version, m.step(), m.src, exchangeName(m.exchange.typ), times(m.sent), times(m.again), m.dst, m.src),
	}
}

// awaitsXAUTH is about a client of Easy VPN that did its part of phase 1 and hears nothing more: the head-end should ask for the password.
func (a *analyzer) awaitsXAUTH(n *Negotiation) (Finding, bool) {
	phase1 := n.distinct[exchangeID{typ: ike.ExchangeAggressive}] >= aggressiveMessages || n.distinct[exchangeID{typ: ike.ExchangeMain}] >= mainMessages
	if !n.Begun || !n.XAUTH || !phase1 || n.exchange(ike.ExchangeTransaction) != nil || a.out.Last.Sub(n.Last) < stuckTime {
		return Finding{}, false
	}
	last := n.messages[len(n.messages)-1]
	return Finding{
		Name: findStuck, Src: n.Responder, Dst: n.Initiator, Evidence: []string{a.messageLine(n, last)},
		Summary: fmt.Sprintf("IKEv1 hangs in XAUTH: %s is complete and both ends agreed on XAUTH, but no XAUTH request of %s is in this capture in the %.1f s that follow "+
			"(an ASA calls this AM_TM_INIT_XAUTH_V6C at the client)", last.stage, n.Responder, a.out.Last.Sub(last.first).Seconds()),
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
func (m *message) step() string {
	if m.stage != "" {
		return m.stage
	}
	return exchangeName(m.exchange.typ)
}

func (m *message) inFragments() string {
	if m.fragments < 2 {
		return ""
	}
	return fmt.Sprintf(", in %d IP fragments each time", m.fragments)
}

func (a *analyzer) messageLine(n *Negotiation, m *message) string {
	ids := make([]string, 0, len(m.ids))
	for _, id := range m.ids {
		ids = append(ids, fmt.Sprintf("0x%04x", id))
	}
	return fmt.Sprintf("%s packet %d: initiator SPI %s, %s, message id %08x, %s to %s, %s; sent %s until %s; IP ids %s",
		a.since(m.first), m.number, n.InitiatorSPI, exchangeName(m.exchange.typ), m.exchange.id, m.src, m.dst, m.kind, times(m.sent), a.since(m.last), strings.Join(ids, ", "))
}
