package pmtu

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
)

// A link carries packets of any protocol up to its MTU. A black hole to IKE above a size that passes
// by another method is none of a link that all packets cross:
//
//	larger by the other IKE port                 filter or policer of this port by size
//	larger by echo only, lost between routers    filter or policer of IKE by size
//	larger by echo only, else                    the peer may refuse IKE messages of that size
//
// In place of a filter there may be parallel links or paths. Every responder takes 1280 octets of
// IKE (RFC 7296, section 2): a smaller limit is not the responder's.
const requiredOctets = 1280

// attribute qualifies the black holes of a round, or retracts a black hole that may be the
// peer's own limit.
func (c *Collector) attribute(out *Results) {
	for i := range out.Results {
		r := &out.Results[i]
		larger, witness := c.larger(out, r), c.echoesTell(r.Method)
		if r.Method == collectors.ICMP || r.State != search.BlackHole || len(larger) == 0 && witness {
			continue
		}
		octets := r.Bytes - c.target.Get().Path.HeaderIP() - netio.HeaderUDP
		others := slices.DeleteFunc(slices.Clone(larger), func(m collectors.Method) bool { return m == collectors.ICMP })
		first := c.firstMissed(r)
		atPeer := !first.IsValid() || first == c.target.Get().Path.Dst
		switch {
		case len(others) == 0 && atPeer && octets >= requiredOctets:
			r.LargerBy = larger
			c.states[r.Method].hole = 0
			r.State = search.Inconclusive
			r.Reason = fmt.Sprintf("the peer itself may refuse IKE messages of more than %d octets: ", octets)
			if witness {
				r.Reason += fmt.Sprintf("echoes of %d bytes pass", r.LinkBytes)
			} else {
				r.Reason += "echoes leave by another way and cannot show it"
			}
		case len(larger) > 0:
			if len(r.LargerBy) > 0 { // another method was measured since
				r.Note = strings.TrimSuffix(r.Note, c.filterNote(r))
			}
			r.LargerBy = larger
			r.Note += c.filterNote(r)
		}
	}
}

// firstMissed returns the first address that larger packets than those of a result do not reach, by
// any IKE method on the same way.
func (c *Collector) firstMissed(r *Result) (first netip.Addr) {
	for _, m := range collectors.IKEMethods() {
		if st := c.states[m]; st != nil && c.together(m, r.Method) && st.place.bytes == r.Bytes && st.place.first.IsValid() {
			first = st.place.first
		}
	}
	return first
}

// larger returns the methods on the same way by which more is proven to pass: in this round, or in an
// earlier one since the black hole was found, because what passed before it shows nothing. The same
// message is larger by the non-ESP marker on the other IKE port.
func (c *Collector) larger(out *Results, r *Result) (methods []collectors.Method) {
	for _, m := range collectors.Methods() {
		bytes := 0
		if earlier := c.known.of(m); earlier != nil && !r.ProvedAt.IsZero() && earlier.at.After(r.ProvedAt) {
			bytes = int(earlier.bytes)
		}
		if i := slices.IndexFunc(out.Results, func(other Result) bool { return other.Method == m }); i >= 0 {
			bytes = out.Results[i].Bytes
		}
		if m != r.Method && c.together(m, r.Method) && bytes > r.Bytes+m.Marker() {
			methods = append(methods, m)
		}
	}
	return methods
}

func (c *Collector) filterNote(r *Result) string {
	before := ""
	if r.Inexact > 0 {
		before = "; "
	}
	names := make([]string, 0, len(r.LargerBy))
	for _, m := range r.LargerBy {
		names = append(names, m.String())
	}
	what := fmt.Sprintf("UDP port %d", c.target.Get().IKE.UDPPort(r.Method))
	if len(r.LargerBy) == 1 && r.LargerBy[0] == collectors.ICMP {
		what = "IKE"
	}
	return before + fmt.Sprintf("larger packets pass by %s: no link that all packets cross is too small; a filter or policer of %s by size, "+
		"or one of several parallel links", strings.Join(names, " and "), what)
}

// awaitsEcho reports whether a black hole to IKE may be attributed by a method that is still to be
// measured in this round.
func awaitsEcho(out *Results, left []collectors.Method) bool {
	return slices.Contains(left, collectors.ICMP) && slices.ContainsFunc(out.Results, func(r Result) bool {
		return r.Method != collectors.ICMP && r.State == search.BlackHole && len(r.LargerBy) == 0
	})
}
