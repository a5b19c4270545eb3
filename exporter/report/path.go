package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
)

// A segment is the part of the path in which packets are lost: behind a router and before the next
// one, the zero Addr where that is not known.
type segment struct{ behind, before netip.Addr }

// stopOf is where a protocol is blocked, empty if it is not or no router shows it.
func (r *Report) stopOf(name protocols.Protocol) (s segment) {
	p := r.protocol(name)
	switch {
	case p == nil || p.State != protocols.Blocked:
	case p.BlockedBy.IsValid():
		s.before = p.BlockedBy
	case p.Way == "":
		hops := r.Hops()
		if p.LastHop > 0 && p.LastHop <= len(hops) {
			s.behind = hops[p.LastHop-1]
		}
		if p.LastHop < len(hops) {
			s.before = hops[p.LastHop]
		}
	}
	return s
}

// notes are what each router sent, and what got to it, by its address in the order of the results.
type notes struct {
	order []netip.Addr
	of    map[netip.Addr][]string
}

func (n *notes) add(a netip.Addr, note string) {
	switch {
	case !a.IsValid():
		return
	case n.of[a] == nil:
		n.order = append(n.order, a)
	}
	if !slices.Contains(n.of[a], note) {
		n.of[a] = append(n.of[a], note)
	}
}

// path is the path hop by hop in order, with what each router showed. Routers that sent something
// and have no place among the hops follow.
func (d *document) path() (lines []Line) {
	n := d.speakers()
	hops := d.Hops()
	for i, a := range hops {
		words := "no answer"
		if a.IsValid() {
			words = strings.Join(append([]string{a.String()}, n.of[a]...), "; ")
			if a == d.Address {
				words = strings.Join(append([]string{a.String() + " (the peer)"}, n.of[a]...), "; ")
			}
		}
		lines = append(lines, Line{fmt.Sprintf("hop %d", i+1), words})
	}
	for _, a := range n.order {
		if !slices.Contains(hops, a) {
			label := "router"
			if a == d.Address {
				label = "the peer"
			}
			lines = append(lines, Line{label, strings.Join(append([]string{a.String()}, n.of[a]...), "; ")})
		}
	}
	return lines
}

// speakers are the routers that sent an ICMP error or that show where packets are lost.
func (d *document) speakers() *notes {
	n := &notes{of: make(map[netip.Addr][]string)}
	for _, s := range d.searches() {
		if s.PTBFrom.IsValid() {
			n.add(s.PTBFrom, fmt.Sprintf("sent packet too big (%d bytes), last at %s", s.PTBMTU, diagnosis.Clock(s.At)))
		}
		if s.SpokeFrom.IsValid() {
			n.add(s.SpokeFrom, fmt.Sprintf("sent packet too big (%d bytes) until %s, then stopped", s.SpokeMTU, diagnosis.Clock(s.SpokeUntil)))
		}
		if s.State == search.BlackHole {
			n.add(s.LastHopPassed, fmt.Sprintf("gets packets above %d bytes", s.Bytes))
			n.add(s.FirstHopFailed, fmt.Sprintf("gets no packets above %d bytes", s.Bytes))
		}
	}
	if b := d.back(); b != nil && b.State == search.BlackHole {
		n.add(b.LastHopPassed, fmt.Sprintf("its replies above %d bytes come back", b.LowerBytes))
		n.add(b.FirstHopFailed, fmt.Sprintf("its replies above %d bytes do not come back", b.LowerBytes))
	}
	d.refusals(n)
	if d.Protocols == nil {
		return n
	}
	for i := range d.Protocols.Results {
		p := &d.Protocols.Results[i]
		if p.State != protocols.Blocked {
			continue
		}
		name := d.protocolName(p.Protocol)
		if p.BlockedBy.IsValid() {
			n.add(p.BlockedBy, fmt.Sprintf("refuses %s at %s", name, diagnosis.Clock(d.Protocols.At)))
			continue
		}
		s := d.stopOf(p.Protocol)
		n.add(s.behind, "gets "+name)
		n.add(s.before, "gets no "+name)
	}
	return n
}

// refusals adds the ICMP errors for requests.
func (d *document) refusals(n *notes) {
	if d.IKE != nil {
		for _, m := range collectors.IKEMethods() {
			if i := d.IKE.Of(m); i.Error.From.IsValid() {
				n.add(i.Error.From, fmt.Sprintf("sent ICMP %s for UDP port %d, last at %s", words(i.Error.Name()), i.Port, diagnosis.Clock(i.At)))
			}
		}
	}
	if i := d.ICMP; i != nil && i.Error.From.IsValid() {
		n.add(i.Error.From, fmt.Sprintf("sent ICMP %s for echo requests, last at %s", words(i.Error.Name()), diagnosis.Clock(i.At)))
	}
}

// A Witness is a router that reported the path MTU until a time.
type Witness struct {
	From  netip.Addr
	MTU   int
	Until string
	// ICMPSilent means that echo is not answered either, so that more than one kind of ICMP is
	// lost.
	ICMPSilent bool
}

// Witness is the router that reported the limit until the black hole began, nil if none is known.
func (d *document) Witness() *Witness {
	for _, s := range d.searches() {
		if s.State == search.BlackHole && s.SpokeFrom.IsValid() {
			return &Witness{s.SpokeFrom, s.SpokeMTU, diagnosis.Clock(s.SpokeUntil), d.EchoSilent()}
		}
	}
	return nil
}

// For reports whether advice for a kind of gateway is of use: the peer's gateway is of this kind,
// or no gateway of the peer is configured.
func (d *document) For(kind string) bool {
	return len(d.GatewayTypes) == 0 || d.Configured(kind)
}

// Configured reports whether a gateway of the peer is of a kind.
func (d *document) Configured(kind string) bool { return slices.Contains(d.GatewayTypes, kind) }
