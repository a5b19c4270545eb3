package ikeprobe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"ipsec_path_exporter/internal/wire/ike"
)

// Reasons why a datagram is not a reply.
var (
	// ErrForeign means that it is no IKE message, or not one with the initiator SPI of the probe.
	ErrForeign = errors.New("not a reply to this IKE probe")
	// ErrReflected means that a device on the path has sent the probe back.
	ErrReflected = errors.New("IKE probe was reflected")
)

// Names of replies that are no notify.
const (
	NameSA    = "SA"    // the offer was accepted
	NameOther = "OTHER" // no readable notify or security association
)

// A Reply is what a peer answered to a probe. It is not authenticated: evidence, not proof.
type Reply struct {
	// Version is the IKE version of the reply, not of the probe.
	Version Version
	// Name is the name of the notify as its RFC spells it (NO-PROPOSAL-CHOSEN), or NOTIFY_ and its
	// number, NameSA, or NameOther: a bounded set, so it can be a metric label.
	Name     string
	Exchange uint8 // type of the reply's exchange
	// Detail is what else the reply says, such as the group that the peer wants; often empty.
	Detail string
}

// Classify reads a UDP payload as a reply to the probe with this initiator SPI. Any IKE message
// that repeats the SPI and is not itself such a request is a reply, even if it is malformed: its
// sender has seen the probe. With marker, it must start with the non-ESP marker of port 4500.
func Classify(payload []byte, spi [8]byte, marker bool) (Reply, error) {
	if marker {
		if len(payload) < markerLength || binary.BigEndian.Uint32(payload) != 0 {
			return Reply{}, fmt.Errorf("%w: no non-ESP marker", ErrForeign)
		}
		payload = payload[markerLength:]
	}
	// A length that does not fit and unreadable payloads do not make the peer silent.
	m, err := ike.ParseMessage(payload)
	if len(payload) < ike.HeaderLength {
		return Reply{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if m.Header.InitiatorSPI != spi {
		return Reply{}, fmt.Errorf("%w: initiator SPI %x", ErrForeign, m.Header.InitiatorSPI)
	}
	if reflected(&m.Header) {
		return Reply{}, ErrReflected
	}
	r := Reply{Version: V2, Name: NameOther, Exchange: m.Header.Exchange}
	if m.Header.Major <= 1 {
		r.Version = V1
	}
	r.read(&m)
	return r, nil
}

// reflected reports whether a message is a request of the initiator. A reply has the response flag
// (RFC 7296, section 3.1), or is an INFORMATIONAL on its own, or of another version than the probe:
// a gateway without IKEv2 may answer in IKEv1, where only an INFORMATIONAL is sent without choosing
// a responder cookie (RFC 2408, sections 4.5 and 4.8).
func reflected(h *ike.Header) bool {
	if h.Major <= 1 {
		return h.Exchange != ike.ExchangeInformational1 && h.ResponderSPI == [8]byte{}
	}
	if h.Flags&ike.FlagResponse != 0 {
		return false
	}
	return h.Flags&ike.FlagInitiator != 0 || h.Exchange == ike.ExchangeIKESAInit
}

// read finds out what the peer says. An error goes before an accepted offer, and that before other
// notifies, which only announce abilities.
func (r *Reply) read(m *ike.Message) {
	status := ""
	for _, p := range m.Payloads {
		switch {
		case (p.Type == ike.PayloadSA || p.Type == ike.PayloadSA1) && len(p.Body) > 0:
			r.Name = NameSA
		case p.Type == ike.PayloadNotify || p.Type == ike.PayloadNotify1:
			n, name, ok := notify(p)
			if ok && n.IsError() {
				r.Name, r.Detail = name, detail(p.Type, &n)
				return
			}
			if ok && status == "" {
				status = name
			}
		}
	}
	if r.Name == NameOther && status != "" {
		r.Name = status
	}
}

// notify reads and names a notify payload of either version.
func notify(p ike.Payload) (n ike.Notify, name string, ok bool) {
	var known bool
	var err error
	if p.Type == ike.PayloadNotify {
		n, err = ike.ParseNotify(p.Body)
		name, known = ike.NotifyName(n.Type)
	} else {
		n, err = ike.ParseNotify1(p.Body)
		name, known = ike.Notify1Name(n.Type)
	}
	if errors.Is(err, ike.ErrTruncated) {
		return n, "", false
	}
	if !known {
		name = "NOTIFY_" + strconv.Itoa(int(n.Type))
	}
	return n, name, true
}

// detail reads the data of IKEv2 errors that have some (RFC 7296, sections 1.2, 2.5 and 3.10.1).
func detail(payloadType uint8, n *ike.Notify) string {
	switch {
	case payloadType != ike.PayloadNotify:
		return ""
	case n.Type == ike.NotifyInvalidKEPayload && len(n.Data) >= 2:
		return "group " + strconv.Itoa(int(binary.BigEndian.Uint16(n.Data)))
	case n.Type == ike.NotifyUnsupportedCriticalPayload && len(n.Data) >= 1:
		return "payload " + strconv.Itoa(int(n.Data[0]))
	}
	return ""
}
