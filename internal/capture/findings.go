package capture

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
)

// Names of conclusions. Those that the exporter's diagnoses have as well mean the same.
const (
	findFragments   = "fragments_dropped"
	findStuck       = "negotiation_stuck"
	findSilent      = "peer_silent"
	findOneWay      = "esp_one_way"
	findOversized   = "tunnel_oversized"
	findTooBig      = "packet_too_big"
	findICMP        = "icmp_"
	findRefused     = "ike_refused"
	findOld         = "earlier_fragments_dropped"
	findFilter      = "capture_without_later_fragments"
	findCut         = "truncated_capture"
	findOffload     = "offloaded_packets"
	findIncomplete  = "capture_incomplete"
	findUnmatched   = "captures_do_not_match"
	findBlackHole   = "pmtu_black_hole"
	findLoss        = "packet_loss"
	findLossUnknown = "packets_in_one_capture_only"
)

const (
	// oneWayPackets and oneWayTime are how much ESP one way without any back is more than a slow answer.
	oneWayPackets = 10
	oneWayTime    = 10 * time.Second
	// minIncomplete is how many datagrams must lack fragments: one may be chance. So may a twentieth of them.
	minIncomplete   = 2
	incompleteShare = 20
	minIgnored      = 3
)

// findings draws the conclusions of one capture.
func (a *analyzer) findings() {
	a.out.Pairs = sorted(a.out.Pairs)
	negotiations := make(map[[2]netip.Addr][]*Negotiation)
	for _, n := range a.out.Negotiations {
		negotiations[n.pair()] = append(negotiations[n.pair()], n)
	}
	for _, p := range a.out.Pairs {
		for _, src := range []netip.Addr{p.A, p.B} {
			there, back := p.direction(src)
			way := way{a: a, src: src, dst: p.A, there: there, back: back}
			if src == p.A {
				way.dst = p.B
			}
			way.fragments()
			way.esp()
			way.tooBig()
			way.errors()
		}
		a.pairNegotiations(p, negotiations[p.key()])
	}
	a.remarks()
}

// conclude adds a conclusion.
func (a *analyzer) conclude(f Finding) {
	if f.Evidence == nil {
		f.Evidence = []string{}
	}
	a.out.Findings = append(a.out.Findings, f)
}

// remarks are about the capture itself.
func (a *analyzer) remarks() {
	if n := a.out.Cut; n > 0 {
		a.conclude(Finding{Name: findCut, Summary: packets(n) +
			" captured only in part (snap length, or `packet-length` of an ASA): what is missing of them was not captured, and is not taken for lost"})
	}
	if n := a.out.Oversized; n > 0 {
		a.conclude(Finding{Name: findOffload, Summary: fmt.Sprintf(
			"%s above %d bytes: unless the link carries jumbo frames, the network card or kernel of the capturing host joined or not yet cut them (GRO, GSO); "+
				"they were not on the wire like this", packets(n), ordinaryMTU)})
	}
}

// A way is one direction with what is needed to judge it.
type way struct {
	a           *analyzer
	src, dst    netip.Addr
	there, back *Direction
}

func (w *way) conclude(name string, fault bool, summary string, evidence []string) {
	w.a.conclude(Finding{Name: name, Fault: fault, Src: w.src, Dst: w.dst, Summary: summary, Evidence: evidence})
}

// time prints when something was, in seconds from the start of the capture.
func (w *way) time(t time.Time) string { return w.a.since(t) }

func (a *analyzer) since(t time.Time) string {
	return fmt.Sprintf("+%.3f s", t.Sub(a.out.First).Seconds())
}

func (w *way) esp() {
	n := w.there.unanswered
	if n < oneWayPackets {
		return
	}
	last := later(w.there.last[kindESP], w.there.last[kindESPinUDP])
	span := last.Sub(w.there.unansweredSince)
	if span < oneWayTime {
		return
	}
	before := w.back.ESP + w.back.ESPinUDP
	if before > 0 {
		w.conclude(findOneWay, false, fmt.Sprintf("the last %s from %s to %s, over %.1f s, came without any back, after %d had come before",
			espPackets(n), w.src, w.dst, span.Seconds(), before), w.spis())
		return
	}
	w.conclude(findOneWay, true, fmt.Sprintf("ESP goes one way only: %s from %s to %s in %.1f s, not one back. Either %s sends nothing, or it is lost before this capture: "+
		"a capture at the other end tells", espPackets(n), w.src, w.dst, span.Seconds(), w.dst), w.spis())
}

func espPackets(n int) string { return fmt.Sprintf("%d ESP packets", n) }

func (w *way) spis() []string {
	var lines []string
	for _, s := range w.there.SPIs {
		if s.Protocol != kindAH.String() {
			lines = append(lines, fmt.Sprintf("%s SPI %s: %s, sequence numbers %d to %d, %s to %s",
				s.Protocol, s.SPI, packets(s.Packets), s.FirstSeq, s.LastSeq, w.time(s.First), w.time(s.Last)))
		}
	}
	return lines
}

// tooBig judges whether a "packet too big" is obeyed.
func (w *way) tooBig() {
	if w.there.ptb == 0 {
		return
	}
	var from []string
	for _, e := range w.there.Errors {
		if e.MTU > 0 {
			from = append(from, w.errorLine(e))
		}
	}
	if w.there.ignored < minIgnored {
		w.conclude(findTooBig, false, fmt.Sprintf("path MTU discovery works from %s to %s: a router named %d bytes", w.src, w.dst, w.there.ptb), from)
		return
	}
	for _, d := range first(w.there.oversized) {
		from = append(from, fmt.Sprintf("%s packet %d: %s of %d bytes, IP id 0x%04x", w.time(d.at), d.number, d.kind, d.largest, d.id))
	}
	w.conclude(findOversized, true, fmt.Sprintf("%s goes on sending to %s what does not fit: a router named %d bytes, and %s above that, with DF, followed",
		w.src, w.dst, w.there.ptb, packets(w.there.ignored)), from)
}

func (w *way) errorLine(e *ICMPError) string {
	s := fmt.Sprintf("%s: ICMP %s (type %d code %d) from %s about %s", w.time(e.First), strings.ReplaceAll(e.Name, "_", " "), e.Type, e.Code, e.From, e.About)
	if e.SPI != "" {
		s += ", SPI " + e.SPI
	}
	if e.MTU > 0 {
		s += fmt.Sprintf(", MTU %d", e.MTU)
	}
	if e.Count > 1 {
		s += fmt.Sprintf(", %d times until %s", e.Count, w.time(e.Last))
	}
	if len(e.quotes) > 0 {
		q := e.quotes[0]
		s += fmt.Sprintf("; the first (packet %d) quotes a packet of %d bytes, IP id 0x%04x", q.number, q.length, q.id)
	}
	return s
}

// errors judges ICMP errors that say that something did not get there.
func (w *way) errors() {
	for _, e := range w.there.Errors {
		switch e.Name {
		case icmp.ErrorName(false, icmp.V4DestinationUnreachable, icmp.V4FragmentationNeeded),
			icmp.ErrorName(false, icmp.V4TimeExceeded, icmp.V4ReassemblyTimeoutExceeded):
			continue // judged elsewhere
		}
		// Where the same kind still comes back after it, the error was passing, or forged.
		passing := w.back.last[e.kind].After(e.Last)
		what := fmt.Sprintf("%s answers %s from %s to %s with ICMP %s", e.From, e.About, w.src, w.dst, strings.ReplaceAll(e.Name, "_", " "))
		if passing {
			what += ", but the same still came back afterwards"
		}
		w.conclude(findICMP+e.Name, !passing, what, []string{w.errorLine(e)})
	}
}

func packets(n int) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

func datagrams(n int) string {
	if n == 1 {
		return "1 datagram"
	}
	return fmt.Sprintf("%d datagrams", n)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// maxLines is how many examples a conclusion shows.
const maxLines = 12

// first are as many examples as are shown.
func first[T any](all []T) []T { return all[:min(len(all), maxLines)] }
