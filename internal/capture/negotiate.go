package capture

import (
	"bytes"
	"encoding/hex"
	"slices"

	"ipsec_path_exporter/internal/wire/ike"
)

// negotiate puts an IKE message where it belongs.
func (a *analyzer) negotiate(d *datagram, there *Direction, head []byte) {
	body := head[d.body:]
	n := a.negotiation(d)
	n.Last = d.at
	sum := digest(0, body)
	if m, p := n.seen(sum, d.src); m != nil {
		d.message, d.part = m, p.number
		if d.at.Sub(p.last) >= duplicateWithin || d.id != p.lastID {
			n.again(m, p, d)
			there.Retransmissions++
		}
		m.last, p.last, p.lastID = d.at, d.at, d.id
		return
	}
	number, total := place(&d.header, body)
	fragment := d.header.NextPayload == ike.PayloadEncryptedFragment || d.header.NextPayload == payloadCiscoFragment
	if fragment {
		there.IKEFragments++
		n.OwnFragments++
	}
	response := n.Version >= 2 && d.header.Flags&ike.FlagResponse != 0
	inner := uint8(0)
	if n.Version >= 2 {
		inner = firstInner(&d.header, body)
	}
	p := part{number: number, digest: sum, sent: 1, last: d.at, lastID: d.id}
	m := n.begun(d, number, total, response)
	if !fragment || m == nil {
		m = n.message(d, response)
		there.Messages++
	}
	d.message, d.part = m, number
	m.last = d.at
	if done := m.add(p, total, inner, d.header.Length); done {
		n.settle(m)
	}
	n.clear(m, body)
}

// message adds a new message without its parts.
func (n *Negotiation) message(d *datagram, response bool) *message {
	m := &message{
		src: d.src, dst: d.dst, kind: d.kind, exchange: exchangeID{d.header.Exchange, d.header.MessageID}, response: response,
		first: d.at, sent: 1, ids: []uint32{d.id}, number: d.number, sealed: n.Version == 1 && d.header.Flags&ike.FlagEncryption != 0,
	}
	if n.Version >= 2 {
		m.expects = !m.response
	} else {
		m.expects = n.expects1(m.exchange)
	}
	if len(n.distinct) < maxDistinct {
		n.distinct[m.exchange]++
	}
	n.count(m)
	if len(n.messages) == maxMessages {
		n.messages = slices.Delete(n.messages, 0, 1)
	}
	n.messages = append(n.messages, m)
	return m
}

func (a *analyzer) negotiation(d *datagram) *Negotiation {
	key := negotiationKey{d.header.InitiatorSPI, unordered(d.src, d.dst)}
	if n := a.negotiations[key]; n != nil {
		return n
	}
	if n := a.bySPI[d.header.InitiatorSPI]; n != nil && n.answeredBy(d) {
		a.negotiations[key] = n
		n.aliases = append(n.aliases, key)
		n.OtherResponder = d.src
		return n
	}
	if len(a.out.Negotiations) == maxNegotiations {
		// The oldest matters least: what hung then has got through or been given up.
		a.drop(a.out.Negotiations[0])
		a.out.Negotiations = slices.Delete(a.out.Negotiations, 0, 1)
		a.forget("negotiations")
	}
	n := &Negotiation{
		InitiatorSPI: hex.EncodeToString(d.header.InitiatorSPI[:]), Version: int(d.header.Major), Initiator: d.src, Responder: d.dst, First: d.at,
		Begun: d.header.ResponderSPI == [8]byte{}, Exchanges: []*Exchange{}, key: key, distinct: make(map[exchangeID]int),
	}
	if n.Version >= 2 && d.header.Flags&ike.FlagInitiator == 0 {
		n.Initiator, n.Responder = d.dst, d.src
	}
	a.negotiations[key] = n
	a.bySPI[key.spi] = n
	a.out.Negotiations = append(a.out.Negotiations, n)
	return n
}

func (a *analyzer) drop(n *Negotiation) {
	delete(a.negotiations, n.key)
	for _, key := range n.aliases {
		delete(a.negotiations, key)
	}
	if a.bySPI[n.key.spi] == n {
		delete(a.bySPI, n.key.spi)
	}
}

// maxAliases bounds the other addresses that answer in a negotiation.
const maxAliases = 4

// answeredBy reports whether a message answers a request of the negotiation from an address that
// was not asked.
func (n *Negotiation) answeredBy(d *datagram) bool {
	answer := d.header.Flags&ike.FlagResponse != 0
	if n.Version < 2 {
		answer = d.header.ResponderSPI != [8]byte{}
	}
	return answer && d.dst == n.Initiator && len(n.aliases) < maxAliases && slices.ContainsFunc(n.messages, func(m *message) bool {
		return m.expects && !m.answered && m.src == n.Initiator && m.exchange == exchangeID{d.header.Exchange, d.header.MessageID}
	})
}

func (n *Negotiation) again(m *message, p *part, d *datagram) {
	if p.sent++; p.sent <= m.sent {
		return // another part of the same transmission
	}
	m.sent = p.sent
	if m.answered {
		m.again++
	}
	if len(m.ids) < maxIDs {
		m.ids = append(m.ids, d.id)
	}
	if e := n.exchange(m.exchange.typ); e != nil {
		e.Retransmissions++
	}
}

// probeVendorID starts the Vendor ID of the exporter's own probes (package ikeprobe).
const probeVendorID = "ipsec_path_exporter"

// clear reads the payloads that are not encrypted.
func (n *Negotiation) clear(m *message, body []byte) {
	parsed, _ := ike.ParseMessage(body) // what could be read before an error is there as well
	if n.Version >= 2 && m.exchange.typ != ike.ExchangeIKESAInit {
		n.Refused = "" // both ends have keys
	}
	for _, p := range parsed.Payloads {
		switch p.Type {
		case ike.PayloadSA1:
			if n.Version == 1 && m.src != n.Initiator && phase(m.exchange.typ) == 1 {
				n.XAUTH = xauth(p.Body)
			}
		case ike.PayloadSA:
			if n.Version >= 2 && m.response {
				n.Refused = "" // a request that was repeated as demanded
			}
		case ike.PayloadNotify1:
			if notify, err := ike.ParseNotify1(p.Body); n.Version == 1 && err == nil && notify.IsError() {
				n.Refused, _ = ike.Notify1Name(notify.Type)
			}
		case ike.PayloadNotify:
			n.notify2(m, p.Body)
		case ike.PayloadVendorID, ike.PayloadVendorID1:
			n.Probe = n.Probe || bytes.HasPrefix(p.Body, []byte(probeVendorID))
		}
	}
}

func (n *Negotiation) notify2(m *message, body []byte) {
	notify, err := ike.ParseNotify(body)
	if err != nil || n.Version < 2 {
		return
	}
	name, _ := ike.NotifyName(notify.Type)
	switch notify.Type {
	case notifyFragmentation:
		if !slices.Contains(n.OffersFragments, m.src) {
			n.OffersFragments = append(n.OffersFragments, m.src)
		}
	case ike.NotifyCookie, ike.NotifyInvalidKEPayload:
		if m.response && !slices.Contains(n.Retries, name) {
			n.Retries = append(n.Retries, name)
		}
	}
	if notify.IsError() && m.response {
		n.Refused = name
	}
}
