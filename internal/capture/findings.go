package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
)

// Names of conclusions. Names that the exporter's diagnoses also have mean the same.
const (
	findFragments   = "fragments_dropped"
	findStuck       = "negotiation_stuck"
	findSilent      = "peer_silent"
	findOneWay      = "esp_one_way"
	findAHOneWay    = "ah_one_way"
	findTCP         = "ike_over_tcp"
	findDoubled     = "doubled_frames"
	findUnread      = "unsupported_link"
	findClock       = "impossible_time"
	findOversized   = "tunnel_oversized"
	findTooBig      = "packet_too_big"
	findICMP        = "icmp_"
	findRefused     = "ike_refused"
	findAuthRefused = "ike_auth_refused"
	findDeleted     = "ike_deleted_at_once"
	findEAP         = "eap_failed"
	findOther       = "answer_from_other_address"
	findProbes      = "exporter_probes"
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
	// oneWayPackets and oneWayTime without any ESP back are more than a slow answer.
	oneWayPackets = 10
	oneWayTime    = 10 * time.Second
	// minIncomplete is how many datagrams must lack fragments: fewer may be chance.
	minIncomplete   = 2
	incompleteShare = 20
	minIgnored      = 3
	minDoubled      = 4
	// tracedTTL is below what hosts send with (64 and more), less the hops of a long path.
	tracedTTL = 24
)

// A judge draws the conclusions of one capture that was read to its end.
type judge struct {
	out   *Analysis
	pairs map[[2]netip.Addr]*Pair
}

func (j *judge) findings() {
	slices.SortFunc(j.out.Pairs, func(p, q *Pair) int { return compareAddresses([2]netip.Addr{p.A, p.B}, [2]netip.Addr{q.A, q.B}) })
	negotiations := make(map[[2]netip.Addr][]*Negotiation)
	for _, n := range j.out.Negotiations {
		negotiations[n.key.ends] = append(negotiations[n.key.ends], n)
	}
	for _, p := range j.out.Pairs {
		for _, src := range []netip.Addr{p.A, p.B} {
			there, back := p.direction(src)
			way := way{j: j, src: src, dst: p.A, there: there, back: back}
			if src == p.A {
				way.dst = p.B
			}
			way.fragments()
			way.oneWay()
			way.overTCP()
			way.tooBig()
			way.errors()
		}
		j.pairNegotiations(p, negotiations[unordered(p.A, p.B)])
	}
	j.remarks()
}

func (j *judge) conclude(f Finding) {
	if f.Evidence == nil {
		f.Evidence = []string{}
	}
	j.out.Findings = append(j.out.Findings, f)
}

// remarks are about the capture itself.
func (j *judge) remarks() {
	if n := j.out.Cut; n > 0 {
		j.conclude(Finding{Name: findCut, Summary: packets(n) +
			" captured only in part (snap length, or `packet-length` of an ASA): the missing part was not captured and does not count as lost"})
	}
	if n := j.out.Doubled; n >= minDoubled {
		j.conclude(Finding{Name: findDoubled, Summary: fmt.Sprintf("%s of %d are copies of another frame less than %v before, and are not counted: the capture is of all interfaces "+
			"or of a mirrored port, or the network duplicates packets", counted(n, "frame"), j.out.Frames, duplicateWithin)})
	}
	if n := j.out.unread(); n > 0 {
		j.conclude(Finding{Name: findUnread, Summary: fmt.Sprintf("%s of %d cannot be read: %s", counted(n, "frame"), j.out.Frames, j.out.unreadLinks())})
	}
	if n := j.out.Shifted; n > 0 {
		j.conclude(Finding{Name: findClock, Summary: fmt.Sprintf("%s of %d with a time beyond the year 9999: the clock of the capturing host was wrong, and only differences count",
			counted(n, "frame"), j.out.Frames)})
	}
	if n := j.out.Oversized; n > 0 {
		j.conclude(Finding{Name: findOffload, Summary: fmt.Sprintf(
			"%s above %d bytes: unless the link carries jumbo frames, the network card or kernel of the capturing host merged them or had not segmented them yet (GRO, GSO); "+
				"they were not on the wire in this form", packets(n), ordinaryMTU)})
	}
}

// A way is one direction with the context to judge it.
type way struct {
	j           *judge
	src, dst    netip.Addr
	there, back *Direction
}

func (w *way) conclude(name string, fault bool, summary string, evidence []string) {
	w.j.conclude(Finding{Name: name, Fault: fault, Src: w.src, Dst: w.dst, Summary: summary, Evidence: evidence})
}

// time prints when something was, in seconds from the start of the capture.
func (w *way) time(t time.Time) string { return w.j.since(t) }

func (j *judge) since(t time.Time) string {
	return fmt.Sprintf("+%.3f s", t.Sub(j.out.First).Seconds())
}

// oneWay judges ESP and AH without any packet in the other direction.
func (w *way) oneWay() {
	n := w.there.unanswered
	if n < oneWayPackets {
		return
	}
	what, name := "ESP", findOneWay
	if w.there.ESP+w.there.ESPinUDP+w.there.WESP == 0 {
		what, name = "AH", findAHOneWay
	}
	last := later(later(w.there.last[kindESP], w.there.last[kindESPinUDP]), later(w.there.last[kindAH], w.there.last[kindWESP]))
	span := last.Sub(w.there.unansweredSince)
	if span < oneWayTime {
		return
	}
	if other := w.j.otherWay(w.src, w.dst); other.IsValid() {
		w.conclude(name, false, fmt.Sprintf("%d %s packets went from %s to %s in %.1f s; the other direction uses the address %s", n, what, w.src, w.dst, span.Seconds(), other), w.spis())
		return
	}
	if before := w.back.protected(); before > 0 {
		w.conclude(name, false, fmt.Sprintf("the last %d %s packets from %s to %s, over %.1f s, arrived without any in the other direction, after %d earlier ones there",
			n, what, w.src, w.dst, span.Seconds(), before), w.spis())
		return
	}
	w.conclude(name, true, fmt.Sprintf("%s passes in one direction only: %d %s packets from %s to %s in %.1f s, none back. Either %s sends none, or it is lost before this capture: "+
		"a capture at the other end shows which", what, n, what, w.src, w.dst, span.Seconds(), w.dst), w.spis())
}

// otherWay returns the address that has the other direction of a path, where a responder answered
// from an address that was not asked.
func (j *judge) otherWay(src, dst netip.Addr) netip.Addr {
	for _, n := range j.out.Negotiations {
		if !n.OtherResponder.IsValid() {
			continue
		}
		for _, ends := range [][2]netip.Addr{{n.Responder, n.OtherResponder}, {n.OtherResponder, n.Responder}} {
			used, other := ends[0], ends[1]
			p := j.pairs[unordered(n.Initiator, other)]
			if p == nil || unordered(src, dst) != unordered(n.Initiator, used) {
				continue
			}
			fromInitiator, fromOther := p.direction(n.Initiator)
			if src == n.Initiator && fromOther.protected() > 0 || src == used && fromInitiator.protected() > 0 {
				return other
			}
		}
	}
	return netip.Addr{}
}

// protected counts packets that carry the traffic of an SA.
func (t *Direction) protected() int { return t.ESP + t.ESPinUDP + t.AH + t.WESP }

func (w *way) spis() []string {
	var lines []string
	for _, s := range first(w.there.SPIs) {
		lines = append(lines, fmt.Sprintf("%s SPI %s: %s, sequence numbers %d to %d, %s to %s",
			s.Protocol, s.SPI, packets(s.Packets), s.FirstSeq, s.LastSeq, w.time(s.First), w.time(s.Last)))
	}
	return lines
}

// overTCP names traffic whose loss TCP hides.
func (w *way) overTCP() {
	if n := w.there.TCP; n > 0 && w.src.Less(w.dst) || n > 0 && w.back.TCP == 0 {
		w.conclude(findTCP, false, fmt.Sprintf("IKE and ESP between %s and %s use TCP (RFC 9329): %s there, %d back. A lost packet shows as a TCP retransmission, which is not judged",
			w.src, w.dst, packets(n), w.back.TCP), nil)
	}
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
	w.conclude(findOversized, true, fmt.Sprintf("%s keeps sending packets to %s that do not fit: a router named %d bytes, and %s above that, with DF, followed",
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
		if e.Name == icmp.NameTooBig || e.Name == icmp.NameReassemblyTimeout {
			continue // judged elsewhere
		}
		// Where the same kind still comes back after it, the error was passing, or forged.
		passing := w.back.last[e.kind].After(e.Last)
		what := fmt.Sprintf("%s answers %s from %s to %s with ICMP %s", e.From, e.About, w.src, w.dst, strings.ReplaceAll(e.Name, "_", " "))
		if passing {
			what += ", but the same protocol still arrived from there afterwards"
		}
		traced := e.Name == icmp.NameTTL && w.there.traced
		if traced {
			what += "; packets were sent with a TTL this small on purpose, as a traceroute or this exporter does"
		}
		w.conclude(findICMP+e.Name, !passing && !traced, what, []string{w.errorLine(e)})
	}
}

func packets(n int) string { return counted(n, "packet") }

func datagrams(n int) string { return counted(n, "datagram") }

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
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
