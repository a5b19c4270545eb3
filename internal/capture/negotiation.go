package capture

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

const (
	// maxMessages is how many messages of a negotiation are remembered; what comes again later is taken for new.
	maxMessages = 32
	maxIDs      = 8
	// payloadCiscoFragment is the payload of IKEv1 fragmentation as Cisco and others do it (draft-smyslov-ipsecme-ikev1-fragmentation).
	payloadCiscoFragment = 132
	// XAUTH is negotiated as an authentication method (draft-beaulieu-ike-xauth-02, section 7.2).
	firstXAUTH, lastXAUTH = 65001, 65010
	// notifyFragmentation is IKEV2_FRAGMENTATION_SUPPORTED (RFC 7383, section 2.3).
	notifyFragmentation = 16430
	// How many messages an exchange has (RFC 2409, sections 5.1, 5.4 and 5.5; draft-ietf-ipsec-isakmp-mode-cfg-05, section 3.1).
	mainMessages, aggressiveMessages, transactionMessages, quickMessages = 6, 3, 2, 3
)

type negotiationKey struct {
	spi  [8]byte
	a, b netip.Addr
}

// A Negotiation is everything under one initiator SPI.
type Negotiation struct {
	// InitiatorSPI is in hexadecimal.
	InitiatorSPI string `json:"initiator_spi"`
	Version      int    `json:"version"`
	// Initiator sent the first message that was seen; Begun tells that it was the first there is.
	Initiator netip.Addr `json:"initiator"`
	Responder netip.Addr `json:"responder"`
	Begun     bool       `json:"from_the_beginning"`
	First     time.Time  `json:"first"`
	Last      time.Time  `json:"last"`
	// Exchanges are what was seen, in order of appearance.
	Exchanges []*Exchange `json:"exchanges"`
	// Stage is where it stands, Established tells that it is complete.
	Stage       string `json:"stage"`
	Established bool   `json:"established"`
	// XAUTH tells that both agreed on it. Refused is an error that was sent in the clear.
	XAUTH   bool   `json:"xauth"`
	Refused string `json:"refused,omitempty"`
	// OwnFragments counts messages that IKE itself cut up (RFC 7383; Cisco's IKEv1 fragmentation). OffersFragments lists who said to be able to.
	OwnFragments    int          `json:"ike_own_fragments"`
	OffersFragments []netip.Addr `json:"offers_ike_fragmentation,omitempty"`

	key      negotiationKey
	messages []*message
	// authenticated tells that an IKE_AUTH was answered with more than an error.
	authenticated bool
	// distinct counts the messages of each IKEv1 exchange.
	distinct map[exchangeID]int
}

// An Exchange is how much of one type of exchange was seen, without retransmissions.
type Exchange struct {
	Name string `json:"name"`
	// FromInitiator and FromResponder count messages, Retransmissions what was sent again.
	FromInitiator   int `json:"from_initiator"`
	FromResponder   int `json:"from_responder"`
	Retransmissions int `json:"retransmissions"`

	typ uint8
}

type exchangeID struct {
	typ uint8
	id  uint32
}

// A message is one IKE message with all its transmissions.
type message struct {
	digest   uint64
	src, dst netip.Addr
	kind     kind
	exchange exchangeID
	// stage names the exchange as people do.
	stage string
	// response is the flag of IKEv2. expects tells that an answer must follow.
	response, expects bool
	answered          bool
	// length is what the IKE header says.
	length      int
	first, last time.Time
	sent        int
	// again counts transmissions after it was answered.
	again int
	ids   []uint32
	// lastID is the identification of the last transmission.
	lastID uint32
	// fragments is how many packets one transmission took, as far as known; whole and incomplete count transmissions by what came of them.
	fragments, whole, incomplete int
	number                       int
}

// arrived notes what became of one transmission in fragments.
func (m *message) arrived(d *datagram, judged bool) {
	m.fragments = max(m.fragments, d.first+d.later)
	switch {
	case d.whole():
		m.whole++
	case judged:
		m.incomplete++
	}
}

// negotiate puts an IKE message where it belongs.
func (a *analyzer) negotiate(d *datagram, there *Direction, head []byte) {
	body := ikeBody(d, head)
	n := a.negotiation(d)
	n.Last = d.at
	own := d.header.NextPayload == ike.PayloadEncryptedFragment || d.header.NextPayload == payloadCiscoFragment
	sum := digest(0, body)
	if m := n.seen(sum, d); m != nil {
		d.message = m
		if d.at.Sub(m.last) >= duplicateWithin || d.id != m.lastID {
			n.again(m, d)
			there.Retransmissions++
		}
		m.last, m.lastID = d.at, d.id
		return
	}
	if own {
		there.IKEFragments++
		n.OwnFragments++
	}
	m := &message{
		digest: sum, src: d.src, dst: d.dst, kind: d.kind, exchange: exchangeID{d.header.Exchange, d.header.MessageID},
		length: int(d.header.Length), first: d.at, last: d.at, sent: 1, ids: []uint32{d.id}, lastID: d.id, number: d.number,
	}
	d.message = m
	if n.Version >= 2 {
		m.response = d.header.Flags&ike.FlagResponse != 0
		m.expects = !m.response
	} else {
		m.expects = n.expects1(m.exchange) && !own
	}
	n.distinct[m.exchange]++
	n.answer(m)
	n.clear(m, body)
	n.count(m)
	if len(n.messages) == maxMessages {
		n.messages = slices.Delete(n.messages, 0, 1)
	}
	n.messages = append(n.messages, m)
}

// ikeBody is the IKE message inside of what begins a datagram, as far as it was captured.
func ikeBody(d *datagram, head []byte) []byte {
	skip := ip.HeaderLengthUDP
	if d.kind == kindNATT {
		skip += ipsec.MarkerLength
	}
	return head[skip:]
}

func (a *analyzer) negotiation(d *datagram) *Negotiation {
	key := negotiationKey{d.header.InitiatorSPI, d.src, d.dst}
	if d.dst.Less(d.src) {
		key.a, key.b = d.dst, d.src
	}
	if n := a.negotiations[key]; n != nil {
		return n
	}
	if len(a.out.Negotiations) == maxNegotiations {
		// The oldest matters least: what hung then has got through or been given up.
		delete(a.negotiations, a.out.Negotiations[0].key)
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
	a.out.Negotiations = append(a.out.Negotiations, n)
	return n
}

// seen finds a message that was sent before: the same bytes the same way (RFC 7296, section 2.1).
func (n *Negotiation) seen(sum uint64, d *datagram) *message {
	for _, m := range slices.Backward(n.messages) {
		if m.digest == sum && m.src == d.src && m.length == int(d.header.Length) {
			return m
		}
	}
	return nil
}

// again notes one more transmission of a message.
func (n *Negotiation) again(m *message, d *datagram) {
	m.sent++
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

// expects1 tells whether the next message of an IKEv1 exchange must be answered.
func (n *Negotiation) expects1(id exchangeID) bool {
	before := n.distinct[id]
	switch id.typ {
	case ike.ExchangeMain:
		return before < mainMessages-1
	case ike.ExchangeAggressive:
		return before < aggressiveMessages-1
	case ike.ExchangeTransaction:
		return before < transactionMessages-1
	case ike.ExchangeQuick:
		return before < quickMessages-1
	}
	return false
}

// answer notes what a new message answers.
func (n *Negotiation) answer(m *message) {
	for _, r := range n.messages {
		if r.src == m.src || !r.expects || r.answered {
			continue
		}
		same := r.exchange == m.exchange && (n.Version == 1 || m.response)
		// A notification in the clear is an answer to any message of phase 1.
		refusal := n.Version == 1 && m.exchange.typ == ike.ExchangeInformational1
		// Who goes on to another exchange is content with the one before.
		next := n.Version == 1 && m.exchange.typ != r.exchange.typ && phase(m.exchange.typ) > phase(r.exchange.typ)
		r.answered = same || refusal || next
	}
}

// phase is the order of the exchanges of IKEv1.
func phase(typ uint8) int {
	switch typ {
	case ike.ExchangeMain, ike.ExchangeAggressive:
		return 1
	case ike.ExchangeTransaction:
		return 2
	case ike.ExchangeQuick:
		return 3
	}
	return 0
}

// clear reads what is not encrypted.
func (n *Negotiation) clear(m *message, body []byte) {
	parsed, _ := ike.ParseMessage(body) // what could be read before an error is there as well
	for _, p := range parsed.Payloads {
		switch p.Type {
		case ike.PayloadSA1:
			if n.Version == 1 && m.src == n.Responder && phase(m.exchange.typ) == 1 {
				n.XAUTH = xauth(p.Body)
			}
		case ike.PayloadNotify1:
			if notify, err := ike.ParseNotify1(p.Body); n.Version == 1 && err == nil && notify.IsError() {
				n.Refused, _ = ike.Notify1Name(notify.Type)
			}
		case ike.PayloadNotify:
			n.notify2(m, p.Body)
		}
	}
}

func (n *Negotiation) notify2(m *message, body []byte) {
	notify, err := ike.ParseNotify(body)
	switch {
	case err != nil || n.Version < 2:
	case notify.IsError() && m.response:
		n.Refused, _ = ike.NotifyName(notify.Type)
	case notify.Type == notifyFragmentation && !slices.Contains(n.OffersFragments, m.src):
		n.OffersFragments = append(n.OffersFragments, m.src)
	}
}

// xauth tells whether a responder's choice of an IKEv1 proposal is with XAUTH.
func xauth(body []byte) bool {
	proposals, _ := ike.ParseSA1(body)
	for _, p := range proposals {
		for _, t := range p.Transforms {
			for _, at := range t.Attributes {
				if at.Type == ike.AttributeAuth && at.Data == nil && at.Value >= firstXAUTH && at.Value <= lastXAUTH {
					return true
				}
			}
		}
	}
	return false
}

func (n *Negotiation) exchange(typ uint8) *Exchange {
	i := slices.IndexFunc(n.Exchanges, func(e *Exchange) bool { return e.typ == typ })
	if i < 0 {
		return nil
	}
	return n.Exchanges[i]
}

// count counts a new message, and moves the stage.
func (n *Negotiation) count(m *message) {
	e := n.exchange(m.exchange.typ)
	if e == nil {
		name, ok := ike.ExchangeName(m.exchange.typ)
		if !ok {
			name = "exchange " + hex.EncodeToString([]byte{m.exchange.typ})
		}
		e = &Exchange{Name: name, typ: m.exchange.typ}
		n.Exchanges = append(n.Exchanges, e)
	}
	if m.src == n.Initiator {
		e.FromInitiator++
	} else {
		e.FromResponder++
	}
	m.stage = n.stageOf(m)
	if m.stage != "" {
		n.Stage = m.stage
	}
	if n.complete(m) {
		n.Established = true
		n.Stage = "established"
	}
}

// stageOf names the step that a message belongs to, empty where it says nothing about it.
func (n *Negotiation) stageOf(m *message) string {
	switch m.exchange.typ {
	case ike.ExchangeMain:
		return "main mode"
	case ike.ExchangeAggressive:
		return "aggressive mode"
	case ike.ExchangeQuick:
		return "quick mode"
	case ike.ExchangeTransaction:
		return n.transaction(m)
	case ike.ExchangeIKESAInit, ike.ExchangeIKEAuth, ike.ExchangeIKEIntermediate, ike.ExchangeCreateChildSA, ike.ExchangeIKESessionResume, ike.ExchangeIKEFollowupKE:
		name, _ := ike.ExchangeName(m.exchange.typ)
		return name
	}
	return ""
}

// transaction names a transaction: the head-end begins XAUTH, the client asks for its configuration
// (draft-beaulieu-ike-xauth-02, section 2.2; draft-dukes-ike-mode-cfg-02, section 3).
func (n *Negotiation) transaction(m *message) string {
	first := m.src
	for _, r := range n.messages {
		if r.exchange == m.exchange {
			first = r.src
			break
		}
	}
	switch {
	case !n.Begun:
		return "XAUTH or mode config"
	case first == n.Responder:
		return "XAUTH"
	}
	return "mode config"
}

// complete tells whether a message completes the negotiation.
func (n *Negotiation) complete(m *message) bool {
	switch m.exchange.typ {
	case ike.ExchangeQuick:
		return n.distinct[m.exchange] >= quickMessages
	case ike.ExchangeCreateChildSA, ike.ExchangeInformational:
		return n.authenticated
	case ike.ExchangeIKEAuth:
		n.authenticated = n.authenticated || m.response && m.length > maxErrorLength
	}
	return false
}

// maxErrorLength is the largest encrypted IKEv2 message that holds nothing but an error notification: header, SK payload with the longest usual IV and ICV,
// notify payload and padding. An answer that authenticates holds at least an AUTH payload of 28 bytes and an identity more.
const maxErrorLength = ike.HeaderLength + 4 + 16 + 8 + 16 + 32
