package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/untrusted"
)

// pathMTUs is about the path MTU searches.
func pathMTUs(r *Report) (out []entry) {
	all := r.searches()
	for i := range all {
		out = append(out, r.pathMTU(&all[i]))
	}
	return out
}

func (r *Report) pathMTU(s *pmtu.Result) entry {
	carrier := "ICMP echoes"
	if s.Method != collectors.ICMP {
		carrier = fmt.Sprintf("IKE messages to UDP port %d", r.Port(s.Method))
	}
	e := entry{
		at: proved(s), label: "path MTU, " + s.Method.String(), text: searchText(s),
		row: "path MTU, " + s.Method.String(), cell: words(s.State.String()),
		test: "path MTU, " + s.Method.String(), sent: fmt.Sprintf("%s of up to %d bytes with DF (%s)", carrier, s.LinkBytes, packets(cmp.Or(s.ProvedPackets, s.Packets))),
	}
	if tunnelmtu.Conclusive(s) {
		e.cell = fmt.Sprintf("%d %s", s.Bytes, e.cell)
	}
	ptb := fmt.Sprintf("packet too big: %d", s.PTBReceived)
	if s.PTBFrom.IsValid() {
		ptb += fmt.Sprintf(", the last from %s naming %d bytes", s.PTBFrom, s.PTBMTU)
	}
	ptb += stopped(s)
	switch s.State {
	case search.Clean:
		e.received, e.shows = "a reply to the largest", fmt.Sprintf("packets of %d bytes pass, the largest that this host can send", s.Bytes)
	case search.Reduced:
		e.received = fmt.Sprintf("replies up to %d bytes; %s", s.Bytes, ptb)
		e.shows = fmt.Sprintf("the path carries %d bytes, and its routers report that size", s.Bytes)
	case search.BlackHole:
		e.received = fmt.Sprintf("replies up to %d bytes, none from %d bytes on; %s", s.Bytes, s.Bytes+1, ptb)
		e.shows = fmt.Sprintf("larger packets vanish%s, and no router reports a size that passes", place(s))
		if s.Method == collectors.ICMP {
			e.shows += "; either the request or the reply is lost"
		}
	case search.Unreachable:
		e.received, e.shows = "nothing, not even for small packets", "none about sizes"
	case search.Inconclusive, search.Unknown:
		e.received = "too few replies for a conclusion"
		if s.Bytes > 0 {
			e.received = fmt.Sprintf("a reply at %d bytes, and too few replies for a conclusion about larger packets; %s", s.Bytes, ptb)
		}
		e.shows = "none about larger sizes: " + untrusted.Line(reason(s.Reason))
	}
	if s.Packets == 0 && s.State == search.Unreachable {
		e.test = "" // other measurements showed the silence
	}
	if s.Note != "" {
		e.shows += "; " + untrusted.Line(s.Note)
	}
	if !tunnelmtu.Conclusive(s) {
		e.unknown, e.why = "the path MTU by "+s.Method.String(), s.Reason
	}
	return e
}

// proved is when the search was made that found the result. Later rounds that confirm a black hole
// send few packets.
func proved(s *pmtu.Result) time.Time {
	if s.ProvedAt.IsZero() {
		return s.At
	}
	return s.ProvedAt
}

// stopped is until when a router reported the limit, where none does any more, or empty.
func stopped(s *pmtu.Result) string {
	if !s.SpokeFrom.IsValid() {
		return ""
	}
	return fmt.Sprintf("; %s sent packet too big (%d bytes) until %s", s.SpokeFrom, s.SpokeMTU, diagnosis.Clock(s.SpokeUntil))
}

// searchText is the result in one line.
func searchText(s *pmtu.Result) string {
	text := words(s.State.String())
	if s.Bytes > 0 {
		text = fmt.Sprintf("%d bytes, %s", s.Bytes, text)
		if s.State == search.Inconclusive {
			text = "at least " + text
		}
	}
	text = because(text, s.Reason)
	if s.PTBFrom.IsValid() {
		text += "; packet too big from " + s.PTBFrom.String()
		if s.PTBMTU > 0 {
			text += " naming " + strconv.Itoa(s.PTBMTU)
		}
	}
	if s.Note != "" {
		text += "; " + s.Note
	}
	if where := place(s); where != "" {
		text += "; larger ones vanish" + where
	}
	if s.Packets == 0 && s.State == search.Unreachable {
		return text
	}
	return text + " (" + packets(cmp.Or(s.ProvedPackets, s.Packets)) + ")"
}

func packets(n int) string {
	if n == 1 {
		return "1 packet"
	}
	return strconv.Itoa(n) + " packets"
}

// place is between which routers larger packets vanish, with a leading space, or empty.
func place(s *pmtu.Result) string { return between(s.LastHopPassed, s.FirstHopFailed) }

// between names the routers behind and before which packets are lost, with a leading space, or is
// empty.
func between(behind, before netip.Addr) string {
	last, first := address(behind), address(before)
	switch {
	case last != "" && first != "":
		return " between " + last + " and " + first
	case last != "":
		return " after " + last
	case first != "":
		return " before or at " + first
	}
	return ""
}

// holePlace is about black holes without a known place.
func holePlace(r *Report) []entry {
	all := r.searches()
	placed := func(bytes int) bool {
		return slices.ContainsFunc(all, func(s pmtu.Result) bool { return s.Bytes == bytes && place(&s) != "" })
	}
	if !slices.ContainsFunc(all, func(s pmtu.Result) bool { return s.State == search.BlackHole && !placed(s.Bytes) }) || r.placedByRouters() {
		return nil
	}
	e := entry{unknown: "between which routers large packets vanish", why: "too few of the routers on the path answer"}
	if len(r.Hops()) == 0 {
		e.why = "the routers on the path were not probed, or do not answer"
	}
	return []entry{e}
}

// tunnelSettings is about the tunnel that the path MTU allows.
func tunnelSettings(r *Report) []entry {
	t := r.Tunnel
	if t == nil {
		return nil
	}
	text := fmt.Sprintf("MTU %d, TCP MSS %d recommended (%s, %s)", t.MTUBytes, t.MSSBytes, t.Cipher.Name, esp(t.UDP))
	return []entry{{label: "tunnel", text: text}}
}
