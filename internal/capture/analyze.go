package capture

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/wire/ip"
)

// How much is kept, whatever is in a capture.
const (
	maxPairs        = 4096
	maxSPIs         = 256 // per direction
	maxErrors       = 64  // per direction
	maxNegotiations = 4096
	maxKept         = 64 // examples of anything else, per direction
	maxQuotes       = 16
)

const (
	// A clock that goes back or leaps this far was set, or the file is damaged: what waits for its rest is then not judged.
	clockBack = time.Minute
	clockLeap = time.Hour
	// ordinaryMTU is the largest packet of an ordinary link (RFC 894).
	ordinaryMTU = 1500
)

// analyzer reads one capture in one pass.
type analyzer struct {
	out          Analysis
	now          time.Time
	links        map[layers.LinkType]int
	unknownLinks int
	reassembly   *reassembly
	pairs        map[[2]netip.Addr]*Pair
	negotiations map[negotiationKey]*Negotiation
}

// Analyze reads a capture to its end, or to where it is damaged. An error means that it cannot be read at all.
func Analyze(name string, r io.Reader) (*Analysis, error) {
	a := newAnalyzer(name)
	err := Read(r, a.add)
	var damage *DamageError
	switch {
	case errors.As(err, &damage):
		a.out.Damage = err.Error()
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if a.unknownLinks > 0 && a.unknownLinks == a.out.Frames {
		return nil, fmt.Errorf("%s: cannot read packets of %s", name, a.out.Links[0])
	}
	return a.finish(), nil
}

func newAnalyzer(name string) *analyzer {
	a := &analyzer{
		out:          Analysis{Name: name, Pairs: []*Pair{}, Negotiations: []*Negotiation{}, Findings: []Finding{}},
		links:        make(map[layers.LinkType]int),
		pairs:        make(map[[2]netip.Addr]*Pair),
		negotiations: make(map[negotiationKey]*Negotiation),
	}
	a.reassembly = newReassembly(a.reassembled)
	return a
}

func (a *analyzer) finish() *Analysis {
	a.reassembly.flush(a.now)
	for c := range a.out.complete {
		if a.out.complete[c].IsZero() {
			a.out.complete[c] = a.out.Last
		}
	}
	a.findings()
	return &a.out
}

// forget counts what there is no room for.
func (a *analyzer) forget(what string) {
	if a.out.Forgotten == nil {
		a.out.Forgotten = make(map[string]int)
	}
	a.out.Forgotten[what]++
}

// add takes the next frame.
func (a *analyzer) add(f *Frame) {
	a.out.Frames++
	a.clock(f.Time)
	b, known := network(f.Link, f.Data)
	if a.links[f.Link]++; a.links[f.Link] == 1 && len(a.out.Links) < maxKept {
		a.out.Links = append(a.out.Links, linkName(f.Link))
	}
	switch {
	case !known:
		a.unknownLinks++
		a.out.NotIP++
		return
	case b == nil:
		a.out.NotIP++
		return
	}
	p, err := parse(b)
	if err != nil {
		a.out.Unreadable++
		return
	}
	p.number, p.at = f.Number, f.Time
	a.packet(&p)
}

// clock keeps the time of the capture, which may step.
func (a *analyzer) clock(t time.Time) {
	if a.out.Frames == 1 {
		a.now, a.out.First, a.out.Last = t, t, t
	}
	if t.Before(a.now.Add(-clockBack)) || t.After(a.now.Add(clockLeap)) {
		a.reassembly.flush(time.Time{})
		a.now = t
	}
	if t.After(a.now) {
		a.now = t
	}
	if t.Before(a.out.First) {
		a.out.First = t
	}
	if t.After(a.out.Last) {
		a.out.Last = t
	}
	a.reassembly.expire(a.now)
}

func (a *analyzer) packet(p *packet) {
	if p.fragment {
		a.fragment(p)
		return
	}
	d := &datagram{packet: *p, total: p.size, largest: p.length}
	if p.protocol == ip.ProtocolICMP || p.protocol == ip.ProtocolICMPv6 {
		a.icmp(d)
		d.payload = nil
		return
	}
	d.have.add(0, p.size)
	d.classify(p.payload)
	d.payload = nil
	if d.kind == kindNone {
		return
	}
	a.related(p)
	a.begun(d, p.payload)
	a.record(d)
}

// fragment takes a fragment. What it belongs to is known from the first one.
func (a *analyzer) fragment(p *packet) {
	if p.offset > 0 {
		a.out.LaterFragments++
	}
	d, begins := a.reassembly.add(p)
	if begins {
		d.at, d.number, d.ttl = p.at, p.number, p.ttl
		d.classify(p.payload[:min(len(p.payload), headLength)])
	}
	switch {
	case d.kind == kindNone: // nothing of a VPN
	case d.kind == kindFragment && p.protocol == ip.ProtocolUDP: // not known yet
	default:
		a.related(p)
		if begins {
			if p.protocol == ip.ProtocolUDP {
				a.out.Related += d.later // they came before what they belong to was known
			}
			a.begun(d, p.payload[:min(len(p.payload), headLength)])
		}
	}
	a.reassembly.complete(d)
}

// related counts a packet of a VPN.
func (a *analyzer) related(p *packet) {
	a.out.Related++
	if p.cut() {
		a.out.Cut++
	}
	if p.length > ordinaryMTU {
		a.out.Oversized++
	}
}

// begun looks at what begins a datagram.
func (a *analyzer) begun(d *datagram, head []byte) {
	pair := a.pair(d.src, d.dst, true)
	if pair == nil {
		return
	}
	there, back := pair.direction(d.src)
	there.count(d)
	switch {
	case d.kind.isIKE() && d.isIKE:
		a.negotiate(d, there, head)
	case d.kind.isESP():
		there.unanswered++
		if there.unanswered == 1 {
			there.unansweredSince = d.at
		}
		back.unanswered = 0
		a.spi(there, d)
	case d.kind == kindAH:
		a.spi(there, d)
	}
	there.tooBig(d)
}

func (t *Direction) count(d *datagram) {
	t.last[d.kind] = d.at
	t.largest = max(t.largest, d.largest)
	switch d.kind {
	case kindIKE:
		t.IKE++
	case kindNATT:
		t.NATT++
	case kindESP:
		t.ESP++
	case kindESPinUDP:
		t.ESPinUDP++
	case kindAH:
		t.AH++
	case kindKeepalive:
		t.Keepalives++
	default:
		t.Other++
	}
}

func (a *analyzer) spi(t *Direction, d *datagram) {
	if d.content == 0 {
		return // too little of it was captured
	}
	i := slices.IndexFunc(t.SPIs, func(s *SPI) bool { return s.spi == d.spi && s.kind == d.kind })
	if i < 0 {
		if len(t.SPIs) == maxSPIs {
			a.forget("SPIs")
			return
		}
		i = len(t.SPIs)
		t.SPIs = append(t.SPIs, &SPI{SPI: spiName(d.spi), Protocol: d.kind.String(), First: d.at, FirstSeq: d.seq, spi: d.spi, kind: d.kind})
	}
	s := t.SPIs[i]
	s.Packets++
	s.Last, s.LastSeq = d.at, d.seq
}

func spiName(spi uint32) string { return fmt.Sprintf("0x%08x", spi) }

// reassembled counts a fragmented datagram, once it is known what became of it.
func (a *analyzer) reassembled(d *datagram, judged bool) {
	if d.kind == kindNone {
		return
	}
	late := d.kind == kindFragment && d.protocol == ip.ProtocolUDP
	// Later fragments do not say what they are part of: they matter where the two talk IKE or ESP.
	pair := a.pair(d.src, d.dst, !late && d.kind != kindFragment || d.protocol == ip.ProtocolESP || d.protocol == ip.ProtocolAH)
	if pair == nil {
		return
	}
	if late {
		a.out.Related += d.later
	}
	there, _ := pair.direction(d.src)
	there.FirstFragments += d.first
	there.LaterFragments += d.later
	switch {
	case d.whole():
		there.Whole++
		there.wholes = keep(there.wholes, d)
	case !judged:
		there.Undecided++
	case d.first == 0:
		there.Headless++
		there.headless = keep(there.headless, d)
	default:
		there.Incomplete++
		there.incomplete = keep(there.incomplete, d)
	}
	if d.message != nil {
		d.message.arrived(d, judged)
	}
	a.record(d)
}

// keep keeps the newest few.
func keep(all []*datagram, d *datagram) []*datagram {
	if len(all) == maxKept {
		all = slices.Delete(all, 0, 1)
	}
	return append(all, d)
}

// pair finds the pair of two addresses, and makes it if it may.
func (a *analyzer) pair(src, dst netip.Addr, create bool) *Pair {
	key := [2]netip.Addr{src, dst}
	if dst.Less(src) {
		key = [2]netip.Addr{dst, src}
	}
	p := a.pairs[key]
	switch {
	case p != nil || !create:
		return p
	case len(a.pairs) == maxPairs:
		a.forget("pairs")
		return nil
	}
	p = &Pair{A: src, B: dst}
	a.pairs[key] = p
	a.out.Pairs = append(a.out.Pairs, p)
	return p
}

// record keeps what a comparison needs. What began before there was no room left is always kept, however late it was put together.
func (a *analyzer) record(d *datagram) {
	c := d.kind.class()
	full := a.out.complete[c]
	if !full.IsZero() && (d.at.After(full) || a.out.recorded[c] >= c.maxRecords()+maxOpen) {
		a.forget("packets for the comparison")
		return
	}
	a.out.records = append(a.out.records, recordOf(d))
	if a.out.recorded[c]++; a.out.recorded[c] == c.maxRecords() {
		a.out.complete[c] = a.now
	}
}

// sorted returns the pairs in the order of their addresses.
func sorted(pairs []*Pair) []*Pair {
	return slices.SortedFunc(slices.Values(pairs), func(p, q *Pair) int {
		return cmp.Or(p.A.Compare(q.A), p.B.Compare(q.B))
	})
}
