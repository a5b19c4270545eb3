package capture

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
)

// A quote is what an ICMP error says about the packet that it is about.
type quote struct {
	at     time.Time
	number int
	id     uint32
	length int
	header ike.Header // if it quotes that much
	isIKE  bool
	// of is the quoted fragmented datagram, nil if it is not in this capture; whole: all of it is.
	of    *datagram
	whole bool
}

// icmp takes an ICMP message. Only errors about packets of a VPN matter here.
func (a *analyzer) icmp(d *datagram) {
	v6 := d.protocol == ip.ProtocolICMPv6
	m, err := icmp.ParseIPv4(d.payload)
	if v6 {
		m, err = icmp.ParseIPv6(d.payload)
	}
	if err != nil || !m.Quote.Src.IsValid() {
		return
	}
	about := quoted(&m.Quote)
	pair := a.pair(m.Quote.Src, m.Quote.Dst, about.kind != kindNone && about.kind != kindFragment)
	if pair == nil || about.kind == kindNone {
		return
	}
	a.related(&d.packet)
	d.kind = kindICMP
	d.have.add(0, d.size)
	there, back := pair.direction(m.Quote.Src)
	if d.src == m.Quote.Dst && d.dst == m.Quote.Src {
		back.last[kindICMP] = d.at
	}
	q := quote{
		at: d.at, number: d.number, id: quotedID(v6, d.payload, &m.Quote), length: m.Quote.TotalLength,
		header: about.header, isIKE: about.isIKE,
	}
	q.of = there.find(a.reassembly, m.Quote.Src, m.Quote.Dst, m.Quote.Protocol, q.id)
	q.whole = q.of != nil && q.of.whole()
	if e := there.icmpError(v6, &m, d, about); e != nil {
		e.add(q)
	} else {
		a.forget("ICMP errors")
	}
	if m.MTU > 0 && (there.ptb == 0 || m.MTU < there.ptb) {
		there.ptb, there.ptbAt = m.MTU, d.at
	}
	a.record(d)
}

// quoted returns the VPN traffic that a quoted packet belongs to.
func quoted(q *icmp.Quote) *datagram {
	d := &datagram{packet: packet{src: q.Src, dst: q.Dst, protocol: q.Protocol}, kind: kindNone}
	switch {
	case q.Transport != nil:
		d.classify(q.Transport)
	case q.Protocol == ip.ProtocolESP:
		d.kind = kindESP
	case q.Protocol == ip.ProtocolAH:
		d.kind = kindAH
	case q.Protocol == ip.ProtocolUDP:
		d.kind = kindFragment
	}
	if d.kind == kindAH && len(q.Transport) >= ip.HeaderLengthUDP && d.spi == 0 {
		d.spi = binary.BigEndian.Uint32(q.Transport[4:]) // all there is of AH in 8 bytes (RFC 4302, section 2)
	}
	return d
}

// quotedID is the identification of the quoted packet.
func quotedID(v6 bool, b []byte, q *icmp.Quote) uint32 {
	if !v6 {
		return uint32(q.IPID)
	}
	h, _, err := ip.ParseIPv6(b[icmp.HeaderLength:])
	if err != nil {
		return 0
	}
	return h.FragmentID
}

// find finds the fragmented datagram that an error quotes.
func (t *Direction) find(r *reassembly, src, dst netip.Addr, protocol uint8, id uint32) *datagram {
	if o := r.open[fragmentKey{src, dst, protocol, id}]; o != nil {
		return o.d
	}
	for _, all := range [][]*datagram{t.wholes, t.incomplete} {
		for _, d := range slices.Backward(all) {
			if d.id == id && d.protocol == protocol {
				return d
			}
		}
	}
	return nil
}

// icmpError finds the kind of an error, or makes it.
func (t *Direction) icmpError(v6 bool, m *icmp.Message, d, about *datagram) *ICMPError {
	spi := ""
	if about.spi != 0 {
		spi = spiName(about.spi)
	}
	for _, e := range t.Errors {
		if e.Type == m.Type && e.Code == m.Code && e.From == d.src && e.MTU == m.MTU && e.kind == about.kind && e.SPI == spi {
			return e
		}
	}
	if len(t.Errors) == maxErrors {
		return nil
	}
	e := &ICMPError{
		Name: icmp.ErrorName(v6, m.Type, m.Code), Type: m.Type, Code: m.Code, From: d.src, MTU: m.MTU, About: about.kind.String(), SPI: spi,
		First: d.at, kind: about.kind,
	}
	t.Errors = append(t.Errors, e)
	return e
}

func (e *ICMPError) add(q quote) {
	e.Count++
	e.Last = q.at
	if len(e.quotes) < maxQuotes {
		e.quotes = append(e.quotes, q)
	}
}

// ptbGrace is how long packets above a "packet too big" may still be under way.
const ptbGrace = time.Second

// tooBig notes packets that go on being larger than what a "packet too big" allows.
func (t *Direction) tooBig(d *datagram) {
	if t.ptb > 0 && d.fixed && !d.fragment && d.largest > t.ptb && d.at.Sub(t.ptbAt) > ptbGrace {
		t.ignored++
		t.oversized = keep(t.oversized, d)
	}
}
