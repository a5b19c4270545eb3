package capture

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/ike"
)

// A message is one IKE message with all its transmissions.
type message struct {
	src, dst netip.Addr
	kind     kind
	exchange exchangeID
	stage    string // the exchange as people name it
	// sealed reports that all of an IKEv1 message is encrypted.
	sealed bool
	// response is the flag of IKEv2. expects reports that an answer must follow.
	response, expects bool
	answered          bool
	length            int // of all its parts, as their IKE headers say
	// inner is the first encrypted payload of IKEv2, which the encrypted payload names in the clear
	// (RFC 7296, section 3.14).
	inner       uint8
	first, last time.Time
	sent, again int // again: after it was answered
	ids         []uint32
	// parts are the fragments that IKE itself made (RFC 7383; Cisco's IKEv1 fragmentation), one for
	// another message; total is how many there are, 0 if unknown.
	parts []part
	total int
	// fragments is the number of packets of one transmission, as far as known; whole and incomplete
	// count transmissions by outcome.
	fragments, whole, incomplete int
	number                       int
}

// A part is one datagram of a message.
type part struct {
	number int // from 1
	digest uint64
	sent   int
	last   time.Time
	lastID uint32 // identification of the last transmission
}

// maxParts bounds the fragments of a message that are remembered.
const maxParts = 64

// arrived registers the outcome of one transmission in IP fragments.
func (m *message) arrived(d *datagram, judged bool) {
	m.fragments = max(m.fragments, d.first+d.later)
	switch {
	case d.whole():
		m.whole++
	case judged:
		m.incomplete++
	}
}

// complete reports whether all parts of a message are in the capture.
func (m *message) complete() bool { return m.total > 0 && len(m.parts) >= m.total }

// missing lists the parts of a message that are not in the capture.
func (m *message) missing() (numbers []int) {
	for i := 1; i <= min(m.total, maxParts); i++ {
		if !slices.ContainsFunc(m.parts, func(p part) bool { return p.number == i }) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// missingText names the missing parts, empty if there are none.
func (m *message) missingText() string {
	numbers := m.missing()
	if len(numbers) == 0 || m.total < 2 {
		return ""
	}
	names := make([]string, 0, len(numbers))
	for _, n := range numbers {
		names = append(names, strconv.Itoa(n))
	}
	return fmt.Sprintf("IKE fragment %s of %d of its %s", strings.Join(names, ", "), m.total, exchangeName(m.exchange.typ))
}

// add adds a new part, and reports whether it completes the message.
func (m *message) add(p part, total int, inner uint8, length uint32) bool {
	if len(m.parts) == maxParts {
		return false
	}
	m.parts = append(m.parts, p)
	m.total = cmp.Or(total, m.total)
	m.inner = cmp.Or(inner, m.inner)
	m.length += int(length)
	return len(m.parts) == m.total
}

// place reads which part of its message a datagram is: number 1 of 1 without IKE fragmentation,
// total 0 if a fragment does not say.
func place(h *ike.Header, body []byte) (number, total int) {
	rest := after(body, ike.HeaderLength)
	if len(rest) < 8 {
		return 1, 1
	}
	switch h.NextPayload {
	case ike.PayloadEncryptedFragment: // RFC 7383, section 2.5
		return int(binary.BigEndian.Uint16(rest[4:])), int(binary.BigEndian.Uint16(rest[6:]))
	case payloadCiscoFragment:
		if last := rest[7]&1 != 0; last {
			return int(rest[6]), int(rest[6])
		}
		return int(rest[6]), 0
	}
	return 1, 1
}

// firstInner returns the type of the first encrypted payload of an IKEv2 message, 0 if it has none
// or was cut off.
func firstInner(h *ike.Header, body []byte) uint8 {
	next, rest := h.NextPayload, after(body, ike.HeaderLength)
	for len(rest) >= 4 && next != ike.PayloadNone {
		if next == ike.PayloadEncrypted || next == ike.PayloadEncryptedFragment {
			return rest[0]
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < 4 {
			break
		}
		next, rest = rest[0], after(rest, length)
	}
	return 0
}

// seen finds the message and the part of it that was sent before: the same bytes the same way (RFC
// 7296, section 2.1).
func (n *Negotiation) seen(sum uint64, src netip.Addr) (*message, *part) {
	for _, m := range slices.Backward(n.messages) {
		for i := range m.parts {
			if m.parts[i].digest == sum && m.src == src {
				return m, &m.parts[i]
			}
		}
	}
	return nil, nil
}

// begun finds the message that a new fragment belongs to.
func (n *Negotiation) begun(d *datagram, number, total int, response bool) *message {
	for _, m := range slices.Backward(n.messages) {
		if m.src != d.src || m.exchange != (exchangeID{d.header.Exchange, d.header.MessageID}) || m.response != response {
			continue
		}
		if m.complete() || m.total != 0 && total != 0 && m.total != total ||
			slices.ContainsFunc(m.parts, func(p part) bool { return p.number == number }) {
			return nil // another message, or the same one cut in another way
		}
		return m
	}
	return nil
}
