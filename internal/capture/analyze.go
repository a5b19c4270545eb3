package capture

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/wire/ip"
)

// Bounds of what is kept of a capture.
const (
	maxPairs        = 4096
	maxSPIs         = 256 // per direction
	maxErrors       = 64  // per direction
	maxNegotiations = 4096
	maxKept         = 64 // examples of anything else, per direction
	maxQuotes       = 16
)

const (
	// A clock that goes back or leaps this far was set, or the file is damaged: what waits for its
	// rest is then not judged.
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
	copies       copies
	reassembly   *reassembly
	pairs        map[[2]netip.Addr]*Pair
	negotiations map[negotiationKey]*Negotiation
	bySPI        map[[8]byte]*Negotiation // the newest of each
}

// Analyze reads a capture to its end or to its damage. An error means that it is unreadable.
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
	if n := a.out.Frames; n > 0 && n == a.out.unread() {
		return nil, fmt.Errorf("%s: no VPN packet found: cannot read packets of %s", name, a.out.unreadLinks())
	}
	return a.finish(), nil
}

func newAnalyzer(name string) *analyzer {
	a := &analyzer{
		out:          Analysis{Name: name, Links: []string{}, Pairs: []*Pair{}, Negotiations: []*Negotiation{}, Findings: []Finding{}},
		links:        make(map[layers.LinkType]int),
		copies:       newCopies(),
		pairs:        make(map[[2]netip.Addr]*Pair),
		negotiations: make(map[negotiationKey]*Negotiation),
		bySPI:        make(map[[8]byte]*Negotiation),
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
	(&judge{out: &a.out, pairs: a.pairs}).findings()
	return &a.out
}

// forget counts objects that exceed a bound.
func (a *analyzer) forget(what string) {
	if a.out.Forgotten == nil {
		a.out.Forgotten = make(map[string]int)
	}
	a.out.Forgotten[what]++
}

func (a *analyzer) add(f *Frame) {
	a.out.Frames++
	a.clock(f.Time)
	if f.Shifted {
		a.out.Shifted++
	}
	link := linkOf(f.Link)
	if a.links[f.Link]++; a.links[f.Link] == 1 && len(a.out.Links) < maxKept {
		a.out.Links = append(a.out.Links, link.name)
	}
	if link.find == nil {
		a.out.countUnread(link.name)
		return
	}
	b := link.find(f.Data)
	if b == nil {
		a.out.NotIP++
		return
	}
	p, err := parse(b)
	if err != nil {
		a.out.Unreadable++
		return
	}
	p, b = a.innermost(p, b)
	if a.copies.seen(b[:min(len(b), p.length)], f.Time) {
		a.out.Doubled++
		return
	}
	p.number, p.at = f.Number, f.Time
	a.packet(&p)
}

// innermost returns the packet that tunnels carry, with its bytes.
func (a *analyzer) innermost(p packet, b []byte) (packet, []byte) {
	for range maxDepth {
		name, inner := decapsulate(&p)
		if inner == nil {
			break
		}
		q, err := parse(inner)
		if err != nil {
			break
		}
		if !slices.Contains(a.out.Tunnels, name) {
			a.out.Tunnels = append(a.out.Tunnels, name)
		}
		p, b = q, inner
	}
	return p, b
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
	a.now = later(a.now, t)
	a.out.First, a.out.Last = earlier(a.out.First, t), later(a.out.Last, t)
	a.reassembly.expire(a.now)
}

func (a *analyzer) packet(p *packet) {
	a.out.protocols[p.protocol]++
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
	case d.isIKE:
		a.negotiate(d, there, head)
	case d.kind.protects():
		there.unanswered++
		if there.unanswered == 1 {
			there.unansweredSince = d.at
		}
		back.unanswered = 0
		a.spi(there, d, d.kind, d.spi, d.seq)
		if d.inner != nil {
			there.ESPinAH++
			a.spi(there, d, kindESP, d.inner.SPI, d.inner.Seq)
		}
	}
	there.tooBig(d)
}

func (t *Direction) count(d *datagram) {
	t.last[d.kind] = d.at
	t.largest = max(t.largest, d.largest)
	t.traced = t.traced || d.ttl < tracedTTL
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
	case kindWESP:
		t.WESP++
	case kindTCP:
		t.TCP++
	case kindKeepalive:
		t.Keepalives++
	default:
		t.Other++
	}
}

func (a *analyzer) spi(t *Direction, d *datagram, k kind, spi, seq uint32) {
	if d.content == 0 {
		return // too little of it was captured
	}
	i := slices.IndexFunc(t.SPIs, func(s *SPI) bool { return s.spi == spi && s.kind == k })
	if i < 0 {
		if len(t.SPIs) == maxSPIs {
			a.forget("SPIs")
			return
		}
		i = len(t.SPIs)
		t.SPIs = append(t.SPIs, &SPI{SPI: spiName(spi), Protocol: k.String(), First: d.at, FirstSeq: seq, spi: spi, kind: k})
	}
	s := t.SPIs[i]
	s.Packets++
	s.Last, s.LastSeq = d.at, seq
}

func spiName(spi uint32) string { return fmt.Sprintf("0x%08x", spi) }

// reassembled counts a fragmented datagram once its outcome is known.
func (a *analyzer) reassembled(d *datagram, judged bool) {
	if d.kind == kindNone {
		return
	}
	late := d.kind == kindFragment && d.protocol == ip.ProtocolUDP
	// Later fragments do not show their protocol: they matter where the two ends use IKE or ESP.
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

// pair returns the pair of two addresses, and makes it with create.
func (a *analyzer) pair(src, dst netip.Addr, create bool) *Pair {
	key := unordered(src, dst)
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

// record keeps what a comparison needs: always what began before there was no room left.
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
