package capture

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/wire/ike"
)

const (
	// maxMessages bounds the messages of a negotiation that are remembered.
	maxMessages = 32
	maxDistinct = 1024 // exchanges whose messages are counted
	maxIDs      = 8
	// payloadCiscoFragment is the payload of IKEv1 fragmentation as Cisco and others do it
	// (draft-smyslov-ipsecme-ikev1-fragmentation).
	payloadCiscoFragment = 132
	// XAUTH is negotiated as an authentication method (draft-beaulieu-ike-xauth-02, section 7.2).
	firstXAUTH, lastXAUTH = 65001, 65010
	// notifyFragmentation is IKEV2_FRAGMENTATION_SUPPORTED (RFC 7383, section 2.3).
	notifyFragmentation = 16430
	// How many messages an exchange has (RFC 2409, sections 5.1, 5.4 and 5.5;
	// draft-ietf-ipsec-isakmp-mode-cfg-05, section 3.1).
	mainMessages, aggressiveMessages, transactionMessages, quickMessages = 6, 3, 2, 3
)

type negotiationKey struct {
	spi  [8]byte
	ends [2]netip.Addr
}

// A Negotiation is everything under one initiator SPI.
type Negotiation struct {
	// InitiatorSPI is in hexadecimal.
	InitiatorSPI string `json:"initiator_spi"`
	Version      int    `json:"version"`
	// Initiator sent the first message that was seen; Begun reports that it was the first there is.
	Initiator netip.Addr `json:"initiator"`
	Responder netip.Addr `json:"responder"`
	Begun     bool       `json:"from_the_beginning"`
	First     time.Time  `json:"first"`
	Last      time.Time  `json:"last"`
	// Exchanges are in the order of appearance.
	Exchanges []*Exchange `json:"exchanges"`
	// OtherResponder is an address that answers although another was asked.
	OtherResponder netip.Addr `json:"answered_by,omitzero"`
	// Stage is where it stands, Established reports that it is complete.
	Stage       string `json:"stage"`
	Established bool   `json:"established"`
	// XAUTH reports that both agreed on it. Refused is an error that was sent in the clear, Retries
	// are the demands to send the first request again (COOKIE, INVALID_KE_PAYLOAD).
	XAUTH   bool     `json:"xauth"`
	Refused string   `json:"refused,omitempty"`
	Retries []string `json:"retries,omitempty"`
	// Probe reports that it is a probe of this exporter, by its Vendor ID.
	Probe bool `json:"exporter_probe,omitempty"`
	// OwnFragments counts the fragments that IKE itself made (RFC 7383; Cisco's IKEv1
	// fragmentation). OffersFragments lists the ends that announced support.
	OwnFragments    int          `json:"ike_own_fragments"`
	OffersFragments []netip.Addr `json:"offers_ike_fragmentation,omitempty"`

	key      negotiationKey
	aliases  []negotiationKey // the same with other responders
	messages []*message
	distinct map[exchangeID]int // messages of each exchange
	auth     authentication
	alive    liveness
}

// An Exchange is how much of one type of exchange was seen, without retransmissions.
type Exchange struct {
	Name string `json:"name"`
	// FromInitiator and FromResponder count messages, Retransmissions the repeated ones.
	FromInitiator   int `json:"from_initiator"`
	FromResponder   int `json:"from_responder"`
	Retransmissions int `json:"retransmissions"`

	typ uint8
}

type exchangeID struct {
	typ uint8
	id  uint32
}

// expects1 reports whether the next message of an IKEv1 exchange must be answered.
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

func (n *Negotiation) answer(m *message) {
	for _, r := range n.messages {
		if r.src == m.src || !r.expects || r.answered {
			continue
		}
		same := r.exchange == m.exchange && (n.Version == 1 || m.response)
		// A notification in the clear is an answer to any message of phase 1.
		refusal := n.Version == 1 && m.exchange.typ == ike.ExchangeInformational1
		// An end that starts another exchange has accepted the one before.
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

// xauth reports whether a responder's choice of an IKEv1 proposal is with XAUTH.
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
