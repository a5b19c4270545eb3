package web

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/tunnelmtu"
)

// A reach is how far packets of one kind get.
type reach string

// The reaches. Gone means that they get no further, silent that no answer comes and the place is
// not known, open that routers show them up to some hop and nothing is known behind it.
const (
	through reach = "passes"
	gone    reach = "lost"
	silent  reach = "no answer"
	open    reach = "unknown"
)

// A lane is one kind of packets on the drawing of the path.
type lane struct {
	// Short heads the lane, Label names it in the text. Text is what is known of it.
	Short, Label, Text string
	Reach              reach
	// Hop is the last place that is reached: 0 is this host. A lane Back comes from the peer, and
	// Hop is the last place on its way here.
	Hop  int
	Back bool
	// Next is the place that is not reached, 0 if it is the one behind Hop.
	Next int
}

// A hopTable is the drawing of all lanes over all places, top to bottom.
type hopTable struct {
	// Places are this host, the routers and the peer.
	Places []string
	Lanes  []lane
	// Gap means that the number of routers before the peer is not known.
	Gap bool
}

// maxPlaces is how many places are drawn. No path on the Internet is longer.
const maxPlaces = 40

// newPath returns the drawing of a report, nil without an address.
func newPath(r *report.Report) *hopTable {
	if !r.Address.IsValid() {
		return nil
	}
	p := &hopTable{Places: []string{cmp.Or(address(r.Source), "this host")}}
	hops := r.Hops()
	if n := len(hops); n > 0 && hops[n-1] == r.Address {
		hops = hops[:n-1]
	} else {
		far := distance(r)
		p.Gap = far == 0
		for len(hops) < far-1 {
			hops = append(slices.Clip(hops), netip.Addr{})
		}
	}
	for _, h := range hops[:min(len(hops), maxPlaces)] {
		p.Places = append(p.Places, cmp.Or(address(h), "no answer"))
	}
	p.Places = append(p.Places, r.Address.String())
	for _, k := range protocols.All() {
		if l, ok := p.protocol(r, k); ok {
			p.Lanes = append(p.Lanes, l)
		}
	}
	if l, ok := p.large(r); ok {
		p.Lanes = append(p.Lanes, l)
	}
	if l, ok := p.back(r); ok {
		p.Lanes = append(p.Lanes, l)
	}
	return p
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// distance is the number of hops to the peer, 0 if it is not known.
func distance(r *report.Report) int {
	switch {
	case r.Protocols != nil && r.Protocols.Distance > 0:
		return r.Protocols.Distance
	case r.PMTU != nil:
		return r.PMTU.Distance
	}
	return 0
}

// end is the place of the peer.
func (p *hopTable) end() int { return len(p.Places) - 1 }

// place returns the place of a router, 0 if it is not on the path.
func (p *hopTable) place(a netip.Addr) int { return max(0, slices.Index(p.Places, address(a))) }

// protocol returns the lane of small packets of one protocol. Echo and IKE that are answered pass,
// whatever the ladder saw of them before.
func (p *hopTable) protocol(r *report.Report, k protocols.Protocol) (lane, bool) {
	l := lane{Label: protocolLabel(r, k), Short: shortLabel(r, k), Reach: open, Text: "not measured"}
	answered, known := answer(r, k)
	if answered {
		l.Reach, l.Hop, l.Text = through, p.end(), "passes: the peer answers"
		return l, true
	}
	measured := r.Protocols != nil && slices.ContainsFunc(r.Protocols.Results, func(one protocols.Result) bool { return one.Protocol == k && one.Way == "" })
	if !measured {
		if known {
			l.Reach, l.Text = silent, "no answer; routers were not asked how far it gets"
		}
		return l, known
	}
	one := r.Protocols.Of(k)
	l.Hop = min(one.LastHop, p.end())
	switch {
	case one.State == protocols.Passes:
		l.Reach, l.Hop, l.Text = through, p.end(), "passes: the peer answers"
	case one.State == protocols.Blocked:
		l.Reach, l.Text, l.Next = gone, "blocked"+p.after(l.Hop), p.place(one.FirstMissed)
		if one.BlockedBy.IsValid() {
			l.Text = "refused by " + one.BlockedBy.String()
		}
	case known:
		l.Reach, l.Text = silent, "no answer"+p.seen(l.Hop)
	default:
		l.Text = "unknown whether the peer receives it" + p.seen(l.Hop)
	}
	return l, true
}

// answer reports whether the peer answers a protocol, and whether that is known.
func answer(r *report.Report, k protocols.Protocol) (answered, known bool) {
	switch {
	case k == protocols.ICMP && r.ICMP != nil:
		return r.ICMP.State == icmp.Reachable, r.ICMP.State != icmp.Unknown
	case k == protocols.UDP500 && r.IKE != nil:
		return r.IKE.IKE.State == ike.Responding, r.IKE.IKE.State != ike.Unknown
	case k == protocols.UDP4500 && r.IKE != nil:
		return r.IKE.NATT.State == ike.Responding, r.IKE.NATT.State != ike.Unknown
	}
	return false, false
}

// after names the place behind which packets are lost.
func (p *hopTable) after(hop int) string {
	if hop == 0 {
		return " before the first router that answers"
	}
	return fmt.Sprintf(" after hop %d (%s)", hop, p.Places[hop])
}

// seen names the last place at which packets were seen.
func (p *hopTable) seen(hop int) string {
	if hop == 0 {
		return ""
	}
	return fmt.Sprintf("; seen up to hop %d (%s)", hop, p.Places[hop])
}

// large returns the lane of large packets to the peer: the smallest result by which the tunnel is
// computed, or one that shows a place.
func (p *hopTable) large(r *report.Report) (lane, bool) {
	s := largeResult(r)
	if s == nil {
		return lane{}, false
	}
	l := lane{Short: fmt.Sprintf("%d B", s.Bytes+1), Label: fmt.Sprintf("To the peer, %d bytes with DF by %s", s.Bytes+1, carrier(r, s.Method))}
	switch s.State {
	case search.Clean:
		l.Short, l.Label = fmt.Sprintf("%d B", s.Bytes), fmt.Sprintf("To the peer, %d bytes with DF by %s", s.Bytes, carrier(r, s.Method))
		l.Reach, l.Hop, l.Text = through, p.end(), "pass, the largest that this host can send"
	case search.Reduced:
		l.Reach, l.Hop = gone, p.place(s.PTBFrom)
		l.Text = fmt.Sprintf("too large: %s reports it, %d bytes pass", cmp.Or(address(s.PTBFrom), "a router"), s.Bytes)
	case search.BlackHole:
		l.Reach, l.Hop, l.Text = gone, p.place(s.LastHopPassed), "vanish"+vanish(s.LastHopPassed, s.FirstHopFailed)
		l.Next = p.place(s.FirstHopFailed)
		if !s.LastHopPassed.IsValid() && s.FirstHopFailed.IsValid() {
			l.Hop = max(0, p.place(s.FirstHopFailed)-1)
		} else if !s.LastHopPassed.IsValid() {
			l.Reach, l.Text = silent, "vanish; between which routers is not known"
		}
	case search.Unknown, search.Unreachable, search.Inconclusive:
	}
	return l, true
}

// largeResult is the search that shows most about large packets to the peer, nil without one.
func largeResult(r *report.Report) (best *pmtu.Result) {
	if r.PMTU == nil {
		return nil
	}
	placed := func(s *pmtu.Result) bool { return s.LastHopPassed.IsValid() || s.FirstHopFailed.IsValid() }
	all := r.PMTU.Results
	for i := range all {
		s := &all[i]
		switch {
		case !tunnelmtu.Conclusive(s):
		case best == nil, best.Method == collectors.ICMP, s.Method != collectors.ICMP && s.Bytes < best.Bytes,
			s.Bytes == best.Bytes && placed(s) && !placed(best):
			best = s
		}
	}
	return best
}

// back returns the lane of large packets from the peer.
func (p *hopTable) back(r *report.Report) (lane, bool) {
	if r.PMTU == nil || r.PMTU.Reverse.At.IsZero() {
		return lane{}, false
	}
	b := &r.PMTU.Reverse
	l := lane{Short: "back", Label: "From the peer, large packets", Back: true, Hop: p.end(), Reach: open, Text: "unknown"}
	switch b.State {
	case search.Clean, search.Reduced:
		l.Reach, l.Hop, l.Text = through, 0, fmt.Sprintf("%d bytes come back", b.LowerBytes)
	case search.BlackHole:
		l.Reach, l.Text = gone, "vanish"+vanish(b.FirstHopFailed, b.LastHopPassed)
		if b.UpperBytes > 0 {
			l.Text = fmt.Sprintf("above %d bytes %s", b.UpperBytes, l.Text)
		}
		switch {
		case b.FirstHopFailed.IsValid():
			l.Hop, l.Next = max(1, p.place(b.FirstHopFailed)), p.place(b.LastHopPassed)
		case b.LastHopPassed.IsValid():
			l.Hop = min(p.end(), p.place(b.LastHopPassed)+1)
		default:
			l.Reach = silent
		}
	case search.Unknown, search.Unreachable, search.Inconclusive:
		if b.Reason != "" {
			l.Text = "unknown: " + b.Reason
		}
	}
	return l, true
}

// vanish names the routers between which packets vanish, with a leading space, or is empty.
func vanish(behind, before netip.Addr) string {
	switch {
	case behind.IsValid() && before.IsValid():
		return fmt.Sprintf(" between %s and %s", behind, before)
	case behind.IsValid():
		return fmt.Sprintf(" after %s", behind)
	case before.IsValid():
		return fmt.Sprintf(" before or at %s", before)
	}
	return ""
}

// protocolLabel names a protocol for people.
func protocolLabel(r *report.Report, k protocols.Protocol) string {
	switch k {
	case protocols.ICMP:
		return "ICMP echo"
	case protocols.UDP500:
		return fmt.Sprintf("IKE on UDP %d", r.Port(collectors.IKE))
	case protocols.UDP4500:
		return fmt.Sprintf("IKE on UDP %d", r.Port(collectors.NATT))
	case protocols.ESP:
		return "ESP (IP protocol 50)"
	case protocols.AH:
		return "AH (IP protocol 51)"
	case protocols.ESPInUDP:
		return fmt.Sprintf("ESP in UDP %d", r.Port(collectors.NATT))
	}
	return string(k)
}

// shortLabel heads the lane of a protocol.
func shortLabel(r *report.Report, k protocols.Protocol) string {
	switch k {
	case protocols.ICMP:
		return "echo"
	case protocols.UDP500:
		return fmt.Sprintf("UDP %d", r.Port(collectors.IKE))
	case protocols.UDP4500:
		return fmt.Sprintf("UDP %d", r.Port(collectors.NATT))
	case protocols.ESPInUDP:
		return "ESP/UDP"
	case protocols.ESP, protocols.AH:
	}
	return strings.ToUpper(string(k))
}

// carrier names the packets of a method.
func carrier(r *report.Report, m collectors.Method) string {
	if m == collectors.ICMP {
		return "ICMP echo"
	}
	return fmt.Sprintf("IKE on UDP %d", r.Port(m))
}
