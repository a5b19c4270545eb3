package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipsec_path_exporter/internal/wire/ipsec"
)

// values are what the braces of advice stand for. One that is not known is not in it.
type values map[string]string

// fill puts values into sentences and leaves out those that need one that is not known.
func (v values) fill(sentences []string) []string {
	pairs := make([]string, 0, 2*len(v))
	for name, value := range v {
		pairs = append(pairs, "{"+name+"}", value)
	}
	replacer := strings.NewReplacer(pairs...)
	out := make([]string, 0, len(sentences))
	for _, s := range sentences {
		if s = replacer.Replace(s); !strings.Contains(s, "{") {
			out = append(out, s)
		}
	}
	return out
}

// values are the braces' values for this report.
func (r *Report) values() values {
	v := values{
		"peer": r.Address, "source": r.sender(), "ptb": r.tooBig(), "where": "", "reverse": "how large is not known",
		"silence": "no " + r.tooBig() + " comes back",
		"ike":     strconv.Itoa(int(r.port("ike", 500))), "natt": strconv.Itoa(int(r.port("natt", 4500))),
		"esphops": r.filteredAt("esp"), "ahhops": r.filteredAt("ah"),
	}
	if r.Address == "" {
		v["peer"] = r.Peer
	}
	if m := r.forward(); m != nil {
		v["bytes"], v["next"], v["link"] = strconv.Itoa(m.Bytes), strconv.Itoa(m.Bytes+1), strconv.Itoa(m.LinkBytes)
		v["where"] = m.where()
		if r.Tunnel != nil {
			v.tunnel("nat", tunnelOver(m.Bytes, r.v6(), r.Tunnel.Cipher, "udp"))
		}
		if m.PTBReceived > 0 && m.PTBFrom != "" {
			v["liar"], v["lie"] = m.PTBFrom, strconv.Itoa(m.PTBMTU)
			v["silence"] = fmt.Sprintf("the %s that comes back, from %s, names %d bytes, which do not pass either", r.tooBig(), m.PTBFrom, m.PTBMTU)
		}
	}
	if m := r.echoHole(); m != nil {
		v["echobytes"] = strconv.Itoa(m.Bytes)
		v.tunnel("back", r.tunnelFor(m.Bytes))
	}
	if b := r.Reverse; b != nil && b.bounds() != "" {
		v["reverse"] = b.bounds()
		v.tunnel("back", r.tunnelFor(b.LowerBytes))
	}
	v.tunnel("", r.Tunnel)
	return v
}

// tunnel adds the settings of a tunnel, if there are any.
func (v values) tunnel(prefix string, t *Tunnel) {
	if t != nil {
		v[prefix+"mtu"], v[prefix+"mss"], v[prefix+"cipher"] = strconv.Itoa(t.MTUBytes), strconv.Itoa(t.MSSBytes), t.Cipher
	}
}

// tunnelFor is the same tunnel over a path of so many bytes, nil if it cannot be computed.
func (r *Report) tunnelFor(bytes int) *Tunnel {
	if r.Tunnel == nil {
		return nil
	}
	return tunnelOver(bytes, r.v6(), r.Tunnel.Cipher, r.Tunnel.Encapsulation)
}

// tunnelOver is a tunnel over a path of so many bytes, nil if it cannot be computed.
func tunnelOver(bytes int, v6 bool, name, encapsulation string) *Tunnel {
	cipher, ok := ipsec.CipherByName(name)
	mtu := cipher.TunnelMTU(bytes, v6, encapsulation == "udp")
	mss := ipsec.MSS(mtu, false)
	if !ok || bytes == 0 || mss <= 0 {
		return nil
	}
	return &Tunnel{MTUBytes: mtu, MSSBytes: mss, Cipher: name, Encapsulation: encapsulation}
}

func (r *Report) v6() bool { return r.Family == "ip6" }

// tooBig names "packet too big" so that a filter can be written for it (RFC 792; RFC 4443, section 3.2).
func (r *Report) tooBig() string {
	if r.v6() {
		return "ICMPv6 type 2 (packet too big)"
	}
	return "ICMP type 3 code 4 (fragmentation needed)"
}

// sender is who sent, in a sentence.
func (r *Report) sender() string {
	if r.Source == "" {
		return "this site"
	}
	return r.Source
}

// hidden tells whether the own address is one that the peer does not see: it is private, and the peer's is not.
func (r *Report) hidden() bool { return private(r.Source) && !private(r.Address) }

// private tells whether an address means something within a network only. 100.64.0.0/10 is that of carriers (RFC 6598).
func private(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && (a.IsPrivate() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a))
}

// port is the UDP port of a method.
func (r *Report) port(method string, otherwise uint16) uint16 {
	if i := slices.IndexFunc(r.IKE, func(i IKE) bool { return i.Method == method }); i >= 0 && r.IKE[i].Port != 0 {
		return r.IKE[i].Port
	}
	return otherwise
}

// forward is the result that says most about large packets on the way there: a black hole, else a smaller path; of several the smallest.
// An echo comes back as large as it went: it counts only where IKE knows nothing.
func (r *Report) forward() *MTU {
	var best *MTU
	for i := range r.MTU {
		m := &r.MTU[i]
		if m.rank() < 0 || m.Bytes == 0 {
			continue
		}
		byIKE := m.Method != "icmp"
		switch {
		case best == nil, byIKE && best.Method == "icmp":
			best = m
		case !byIKE && best.Method != "icmp":
		case m.rank() > best.rank(), m.rank() == best.rank() && m.Bytes < best.Bytes:
			best = m
		}
	}
	return best
}

// rank orders the states in which a size is known, from harmless to harmful; negative for the others.
func (m *MTU) rank() int { return slices.Index([]string{"clean", "reduced", "black_hole"}, m.State) }

// mtu is the result by a method, nil if it names no size.
func (r *Report) mtu(method string) *MTU {
	if i := slices.IndexFunc(r.MTU, func(m MTU) bool { return m.Method == method && m.rank() >= 0 && m.Bytes > 0 }); i >= 0 {
		return &r.MTU[i]
	}
	return nil
}

// echoHole is a black hole of echoes alone: larger IKE messages arrive, so it may be the way back that loses. Nil if there is none.
func (r *Report) echoHole() *MTU {
	m, forward := r.mtu("icmp"), r.forward()
	if m == nil || m.State != "black_hole" || forward == m || forward.State == "black_hole" {
		return nil
	}
	return m
}

// where says between which routers larger packets vanish, with a leading space, or nothing.
func (m *MTU) where() string {
	switch {
	case m.LastHopPassed != "" && m.FirstHopFailed != "":
		return " between " + m.LastHopPassed + " and " + m.FirstHopFailed
	case m.LastHopPassed != "":
		return " after " + m.LastHopPassed
	case m.FirstHopFailed != "":
		return " before or at " + m.FirstHopFailed
	}
	return ""
}

// bounds are what is known about the way back, in words.
func (b *Reverse) bounds() string {
	switch {
	case b.LowerBytes > 0 && b.UpperBytes > 0:
		return fmt.Sprintf("%d bytes come back, more than %d do not", b.LowerBytes, b.UpperBytes)
	case b.LowerBytes > 0:
		return fmt.Sprintf("%d bytes come back", b.LowerBytes)
	case b.UpperBytes > 0:
		return fmt.Sprintf("more than %d bytes do not come back", b.UpperBytes)
	}
	return ""
}

// protocol is how far packets of a kind get, nil if that was not tested.
func (r *Report) protocol(name string) *Protocol {
	if i := slices.IndexFunc(r.Protocols, func(p Protocol) bool { return p.Protocol == name }); i >= 0 {
		return &r.Protocols[i]
	}
	return nil
}

// filteredAt says where a protocol ends, with a leading space, or nothing.
func (r *Report) filteredAt(name string) string {
	p := r.protocol(name)
	if p == nil || p.State != "blocked" {
		return ""
	}
	switch {
	case p.BlockedBy != "":
		return ", says " + p.BlockedBy
	case p.LastHop > 0:
		return fmt.Sprintf(" after hop %d%s", p.LastHop, r.hopAddress(p.LastHop))
	}
	return ""
}

// hopAddress is the address of the router at a distance, in brackets, or nothing.
func (r *Report) hopAddress(ttl int) string {
	if i := slices.IndexFunc(r.Hops, func(h Hop) bool { return h.TTL == ttl && h.Address != "" }); i >= 0 {
		return " (" + r.Hops[i].Address + ")"
	}
	return ""
}
