package capture

import (
	"fmt"
	"strconv"
	"strings"

	"ipsec_path_exporter/internal/wire/icmp"
)

// fragments judges the fragmented datagrams of one direction.
//
// A missing rest of a datagram proves nothing by itself: a filter by ports excludes all fragments
// but the first, and a datagram at the end of the capture may be incomplete. So each verdict needs
// further evidence: later fragments elsewhere in the capture, the receiver's own ICMP "fragment
// reassembly time exceeded", or a sender that repeats and gets no answer.
func (w *way) fragments() {
	reported := w.reassemblyErrors()
	confirmed, old := 0, 0
	for _, q := range reported {
		if q.of != nil {
			confirmed++
		} else {
			old++
		}
	}
	switch n := w.there.Incomplete; {
	case confirmed > 0:
		w.dropped(w.confirmed(confirmed), w.datagramLines(reported))
	case n > 0:
		w.incomplete(n)
	case w.there.Headless >= minIncomplete:
		w.headless()
	}
	if old > 0 && confirmed == 0 {
		w.conclude(findOld, false, fmt.Sprintf("%s reported to %s %s by ICMP that fragments of a datagram from there did not arrive; the datagrams are not in this capture: "+
			"they were sent before its start or do not match its filter", w.dst, w.src, times(old)), quoteLines(w, reported))
	}
}

// reassemblyErrors are the quotes of what the receiver could not put together.
func (w *way) reassemblyErrors() (quotes []quote) {
	for _, e := range w.there.Errors {
		if e.Name == icmp.NameReassemblyTimeout {
			quotes = append(quotes, e.quotes...)
		}
	}
	return quotes
}

// confirmed returns the datagrams that the receiver's own ICMP errors prove to be lost.
func (w *way) confirmed(n int) string {
	if w.there.Incomplete == 0 {
		return fmt.Sprintf("%s from %s to %s passed this capture with all their fragments, and %s did not receive all of them: its ICMP errors \"fragment reassembly time exceeded\" "+
			"quote %s of them. Fragments are dropped between this capture and %s", datagrams(w.there.Whole), w.src, w.dst, w.dst, number(n), w.dst)
	}
	return fmt.Sprintf("fragments from %s to %s are dropped before this capture: of %s only the first fragment arrived, and not the rest within %d s. "+
		"%s confirms it: its ICMP errors \"fragment reassembly time exceeded\" quote %s of them",
		w.src, w.dst, datagrams(w.there.Incomplete), int(reassemblyTimeout(w.src).Seconds()), w.dst, number(n))
}

// incomplete judges n datagrams without their rest, about which no ICMP error came.
func (w *way) incomplete(n int) {
	filtered := w.j.out.LaterFragments == 0
	answered := 0
	for _, d := range w.there.incomplete {
		if d.message != nil && d.message.answered {
			answered++
		}
	}
	lines := w.datagramLines(nil)
	what := fmt.Sprintf("of %s from %s to %s only the first fragment is in this capture, and not the rest within %d s", datagrams(n), w.src, w.dst, int(reassemblyTimeout(w.src).Seconds()))
	switch {
	case filtered && answered > 0:
		w.conclude(findFilter, false, what+fmt.Sprintf(", but %s answered %s of them: so the rest arrived, and the capture's filter excludes it. Capture by address, not by port",
			w.dst, number(answered)), lines)
	case n < minIncomplete || n*incompleteShare < n+w.there.Whole:
		w.conclude(findFragments, false, what+fmt.Sprintf("; %d others arrived whole. A number this small may be chance", w.there.Whole), lines)
	case filtered:
		w.dropped(what+". Fragments are dropped before this capture, unless its filter is by port (which excludes later fragments: "+
			"the whole capture has none)", lines)
	default:
		w.dropped(what+": fragments are dropped before this capture", lines)
	}
}

// headless judges datagrams of which the first fragment did not come.
func (w *way) headless() {
	fault := w.there.Headless*incompleteShare >= w.there.Headless+w.there.Whole
	var lines []string
	for _, d := range first(w.there.headless) {
		lines = append(lines, fmt.Sprintf("%s packet %d: later fragment of IP protocol %d, IP id 0x%04x, %d bytes arrived", w.time(d.at), d.number, d.protocol, d.id, d.have.bytes()))
	}
	w.conclude(findFragments, fault, fmt.Sprintf("of %s from %s to %s later fragments are in this capture, but not the first: first fragments are dropped before it",
		datagrams(w.there.Headless), w.src, w.dst), lines)
}

// datagramLines describes each datagram that did not arrive whole.
func (w *way) datagramLines(reported []quote) []string {
	var lines []string
	icmpAbout := make(map[*datagram]quote)
	for _, q := range reported {
		if q.of != nil {
			icmpAbout[q.of] = q
		}
	}
	for _, d := range append(w.there.incomplete, w.there.wholes...) {
		q, is := icmpAbout[d]
		if !is && d.whole() {
			continue
		}
		if len(lines) == maxLines {
			break
		}
		line := w.datagramLine(d)
		if is {
			line += fmt.Sprintf("; ICMP reassembly time exceeded about it %s (packet %d)", w.time(q.at), q.number)
		}
		lines = append(lines, line)
	}
	return lines
}

func (w *way) datagramLine(d *datagram) string {
	s := fmt.Sprintf("%s packet %d: %s", w.time(d.at), d.number, d.kind)
	if d.isIKE {
		s += fmt.Sprintf(", %s of %d bytes", exchangeName(d.header.Exchange), d.header.Length)
	}
	s += fmt.Sprintf(", IP id 0x%04x: ", d.id)
	if d.whole() {
		return s + fmt.Sprintf("all %d bytes in %d fragments", d.total, d.first+d.later)
	}
	s += fmt.Sprintf("%d bytes arrived", d.have.bytes())
	if d.expected > 0 {
		s += fmt.Sprintf(" of %d, %d are missing", d.expected, d.expected-d.have.bytes())
	}
	return s
}

// dropped concludes that fragments are dropped. IKE with its own fragmentation needs none.
func (w *way) dropped(summary string, lines []string) {
	f := Finding{Name: findFragments, Fault: true, Src: w.src, Dst: w.dst, Summary: summary, Evidence: lines}
	for _, d := range append(w.there.incomplete, w.there.wholes...) {
		switch {
		case d.isIKE && d.header.Major == 1:
			f.Advice = "remedy without the path: IKEv1 fragmentation at both ends, or smaller certificates, so that IKE needs no IP fragments"
		case d.isIKE:
			f.Advice = "remedy without the path: IKEv2 fragmentation (RFC 7383) at both ends, so that IKE sends whole UDP datagrams" + w.offers()
		}
	}
	w.j.conclude(f)
}

// offers returns which end supports RFC 7383.
func (w *way) offers() string {
	for _, n := range w.j.out.Negotiations {
		if n.Version < 2 || n.key.ends != unordered(w.src, w.dst) {
			continue
		}
		if len(n.OffersFragments) == 0 {
			return " (neither end announces support here)"
		}
		var who []string
		for _, o := range n.OffersFragments {
			who = append(who, o.String())
		}
		return " (announced here by " + strings.Join(who, " and ") + ")"
	}
	return ""
}

func quoteLines(w *way, quotes []quote) []string {
	var lines []string
	for _, q := range first(quotes) {
		s := fmt.Sprintf("%s packet %d: ICMP reassembly time exceeded about IP id 0x%04x", w.time(q.at), q.number, q.id)
		if q.isIKE {
			s += fmt.Sprintf(", IKE %s of %d bytes", exchangeName(q.header.Exchange), q.header.Length)
		}
		lines = append(lines, s)
	}
	return lines
}

func number(n int) string {
	if n == 1 {
		return "one"
	}
	return strconv.Itoa(n)
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}
