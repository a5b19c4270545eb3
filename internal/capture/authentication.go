package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/wire/ike"
)

// stageDeleted is the stage of an SA that was deleted at once.
const stageDeleted = "deleted"

// payloadEAP is the EAP payload (RFC 7296, section 3.16).
const payloadEAP = 48

// deletedSoon is how soon after IKE_AUTH an SA must be given up to count as refused.
const deletedSoon = 10 * time.Second

// authentication is the outcome of IKE_AUTH, from the first encrypted payload of each message and
// its size.
type authentication struct {
	// answered: an answer with more than an error. accepted: with the responder's identity or proof.
	answered, accepted bool
	at                 time.Time // of the answer
	// refused is the answer with an error alone. eap is the answer that may end EAP without success.
	refused, eap *message
	// objected is a notification that the initiator sent at once, deleted a deletion.
	objected, deleted *message
}

// maxErrorLength is the largest encrypted IKEv2 message with nothing but an error notification:
// header, SK payload with the longest usual IV and ICV, notify payload and padding. An answer that
// authenticates holds at least an AUTH payload of 28 bytes and an identity more.
const maxErrorLength = ike.HeaderLength + 4 + 16 + 8 + 16 + 32

// settle draws conclusions from a message that is whole.
func (n *Negotiation) settle(m *message) {
	n.answer(m)
	switch m.exchange.typ {
	case ike.ExchangeQuick:
		if n.distinct[m.exchange] >= quickMessages {
			n.establish()
		}
	case ike.ExchangeIKEAuth:
		n.authenticate(m)
	case ike.ExchangeCreateChildSA:
		if n.auth.answered {
			n.auth.objected = nil
			n.establish()
		}
	case ike.ExchangeInformational:
		n.inform(m)
	case ike.ExchangeInformational1:
		n.alive.sent(m)
	default:
	}
	if m.exchange.typ != ike.ExchangeInformational1 {
		n.alive = liveness{}
	}
}

func (n *Negotiation) establish() {
	n.Established = true
	n.Stage = "established"
}

func (n *Negotiation) authenticate(m *message) {
	a := &n.auth
	short := m.length <= maxErrorLength
	a.eap = nil
	switch {
	case !m.response:
		a.accepted = a.accepted && m.inner != payloadEAP // the responder's proof alone
	case m.inner == payloadEAP:
		a.accepted = false
		if short {
			a.eap = m
		}
	case m.inner == ike.PayloadNotify && short:
		a.refused, a.accepted = m, false
	case m.inner == ike.PayloadIDr || m.inner == ike.PayloadAuth:
		a.answered, a.accepted, a.at, a.refused = true, true, m.first, nil
	case !short:
		a.answered, a.at = true, m.first
	}
}

// inform reads an INFORMATIONAL exchange after IKE_AUTH: one that gives up the SA at once, or one
// of an SA that is up.
func (n *Negotiation) inform(m *message) {
	a := &n.auth
	soon := !n.Established && m.first.Sub(a.at) < deletedSoon
	switch {
	case !a.answered || a.eap != nil || m.response && (a.objected != nil || a.deleted != nil):
	case m.inner == ike.PayloadDelete && soon && !m.response:
		a.deleted = m
	case m.inner == ike.PayloadNotify && soon && !m.response && m.src == n.Initiator && m.length <= maxErrorLength:
		a.objected = m
	default:
		a.objected = nil
		n.establish()
	}
}

// carried takes notice of ESP or AH in both directions after IKE_AUTH.
func (n *Negotiation) carried(p *Pair) {
	a := &n.auth
	if a.answered && a.deleted == nil && a.refused == nil && a.eap == nil && p.Forward.protects(a.at) && p.Back.protects(a.at) {
		a.objected = nil
		n.establish()
	}
}

// protects reports whether ESP or AH went one way after a time.
func (t *Direction) protects(since time.Time) bool {
	for k := range kinds {
		if k.protects() && t.last[k].After(since) {
			return true
		}
	}
	return false
}

// finish decides what only the end of the capture can.
func (n *Negotiation) finish(stuck bool) {
	a := &n.auth
	switch {
	case n.Established:
	case a.eap != nil:
		n.Stage = "EAP"
	case a.deleted != nil:
		n.Stage = stageDeleted
	case a.refused != nil || a.objected != nil:
		n.Refused = "an encrypted notification"
	case a.accepted && !stuck:
		n.establish()
	}
}

// rejected returns the conclusion of an authentication that failed, in the words of the evidence.
func (j *judge) rejected(n *Negotiation) (Finding, bool) {
	a, f := &n.auth, Finding{Name: findAuthRefused, Src: n.Initiator, Dst: n.Responder}
	var m *message
	switch {
	case n.Established || n.Probe:
	case a.eap != nil:
		m, f.Name = a.eap, findEAP
		f.Summary = fmt.Sprintf("EAP of %s ended without success: the last message is a short EAP message of %s, as EAP-Failure is, and no further IKE_AUTH of %s follows. "+
			"The messages pass; check user name, password and method", m.dst, m.src, m.dst)
	case a.deleted != nil:
		m, f.Name = a.deleted, findDeleted
		f.Summary = fmt.Sprintf("%s deleted the SA with %s %.3f s after IKE_AUTH had been answered: the messages pass; see the log of %s for its reason", m.src, m.dst, m.first.Sub(a.at).Seconds(), m.src)
	case a.objected != nil:
		m = a.objected
		f.Summary = fmt.Sprintf("%s did not accept the answer of %s to IKE_AUTH: it sent a notification at once, and nothing followed. The messages pass; "+
			"the identity, the certificate or the key of the responder is not what %s expects", m.src, m.dst, m.src)
	case a.refused != nil:
		m = a.refused
		f.Summary = fmt.Sprintf("%s refused IKE_AUTH of %s: its encrypted answer of %d bytes holds an error notification and no identity. The messages pass; "+
			"compare keys, identities and certificates of both ends (a wrong pre-shared key is the commonest cause)", m.src, m.dst, m.length)
	}
	if m == nil {
		return f, false
	}
	f.Evidence = []string{j.messageLine(n, m)}
	return f, true
}

// liveness counts the messages of dead peer detection in IKEv1 (RFC 3706, section 5): each is
// another one, encrypted, and of the same size.
type liveness struct {
	count       int
	first, last *message
}

func (l *liveness) sent(m *message) {
	if !m.sealed || l.last == nil || l.last.src != m.src || l.last.length != m.length {
		*l = liveness{first: m}
	}
	if l.last = m; m.sealed {
		l.count++
	}
}

// deadPeer is about an end of IKEv1 that does not answer dead peer detection, while nothing else
// arrives from it.
func (j *judge) deadPeer(n *Negotiation) (Finding, bool) {
	l := &n.alive
	if l.count < stuckSent || l.last.first.Sub(l.first.first) < stuckTime || j.heardSince(l.last.dst, l.last.src, l.first.first) {
		return Finding{}, false
	}
	return Finding{
		Name: findStuck, Src: l.last.src, Dst: l.last.dst, Evidence: []string{j.messageLine(n, l.first), j.messageLine(n, l.last)},
		Summary: fmt.Sprintf("IKEv1: %s sent %d encrypted INFORMATIONAL messages of %d bytes in %.1f s, as dead peer detection does, and no packet of %s is in this capture in that time",
			l.last.src, l.count, l.last.length, l.last.first.Sub(l.first.first).Seconds(), l.last.dst),
	}, true
}

// heardSince reports whether any packet went one way after a time.
func (j *judge) heardSince(src, dst netip.Addr, since time.Time) bool {
	p := j.pairs[unordered(src, dst)]
	if p == nil {
		return false
	}
	there, _ := p.direction(src)
	return slices.ContainsFunc(there.last[:], func(last time.Time) bool { return last.After(since) })
}
