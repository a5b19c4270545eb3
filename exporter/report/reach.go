package report

import (
	"fmt"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/untrusted"
)

// reach is about how far each protocol gets.
func reach(r *Report) (out []entry) {
	if r.Protocols != nil {
		if why := r.Protocols.Reason; why != "" {
			out = append(out, entry{unknown: "how far the protocols get", why: why})
		}
		for i := range r.Protocols.Results {
			out = append(out, r.reachOf(&r.Protocols.Results[i]))
		}
	}
	for _, p := range []protocols.Protocol{protocols.ESP, protocols.AH} {
		if r.protocol(p) == nil {
			out = append(out, entry{unknown: passage(p), why: notTested})
		}
	}
	return out
}

// passage is the question whether ESP or AH passes.
func passage(p protocols.Protocol) string { return "whether " + strings.ToUpper(string(p)) + " passes" }

// protocol is how far a protocol gets, nil if that was not tested.
func (r *Report) protocol(p protocols.Protocol) *protocols.Result {
	if r.Protocols == nil {
		return nil
	}
	i := slices.IndexFunc(r.Protocols.Results, func(one protocols.Result) bool { return one.Protocol == p })
	if i < 0 {
		return nil
	}
	return &r.Protocols.Results[i]
}

func (r *Report) reachOf(p *protocols.Result) entry {
	name := r.protocolName(p.Protocol)
	e := entry{
		label: "reach, " + string(p.Protocol), text: because(p.State.String(), p.Reason),
		at:   r.Protocols.At,
		test: "reach, " + name, sent: name + " with increasing TTL", received: "replies from no router",
	}
	if p.BlockedBy.IsValid() {
		e.text += "; refused by " + p.BlockedBy.String()
	}
	address, distance := r.hopAddress(p.LastHop), r.Protocols.Distance
	if p.Way != "" { // the routers of the report are those on the way of IKE
		address, distance = "", p.Distance
		if p.Last.IsValid() {
			address = " (" + p.Last.String() + ")"
		}
	}
	if p.LastHop > 0 {
		of := ""
		if distance > 0 {
			of = fmt.Sprintf(" of %d", distance)
		}
		e.text += fmt.Sprintf(" (seen up to hop %d%s)", p.LastHop, of)
		e.received = fmt.Sprintf("replies up to hop %d%s%s", p.LastHop, address, of)
	}
	if p.Way != "" {
		e.text += ", leaving by " + p.Way
	}
	esp := p.Protocol == protocols.ESP || p.Protocol == protocols.AH
	if esp {
		e.row, e.cell = strings.ToUpper(string(p.Protocol)), p.State.String()
	}
	switch p.State {
	case protocols.Passes:
		e.shows = name + " reaches the peer"
	case protocols.Blocked:
		e.shows = name + " is filtered" + r.stop(p.Protocol)
	case protocols.Unknown:
		e.shows = "unknown whether it arrives: " + untrusted.Line(reason(p.Reason))
		if esp {
			e.unknown, e.why = passage(p.Protocol), p.Reason
		}
	}
	return e
}

// protocolName names a protocol for people. ESP and AH have no ports (RFC 4303, RFC 4302).
func (r *Report) protocolName(p protocols.Protocol) string {
	switch p {
	case protocols.ESP:
		return "ESP (IP protocol 50)"
	case protocols.AH:
		return "AH (IP protocol 51)"
	case protocols.ICMP:
		return "ICMP echo"
	case protocols.UDP500:
		return fmt.Sprintf("UDP port %d", r.Port(collectors.IKE))
	case protocols.UDP4500:
		return fmt.Sprintf("UDP port %d", r.Port(collectors.NATT))
	case protocols.ESPInUDP:
		return fmt.Sprintf("ESP in UDP port %d", r.Port(collectors.NATT))
	}
	return string(p)
}

// stop is where a protocol is blocked, with a leading space or comma, or empty.
func (r *Report) stop(name protocols.Protocol) string {
	p := r.protocol(name)
	switch {
	case p == nil || p.State != protocols.Blocked:
	case p.BlockedBy.IsValid():
		return ", as " + p.BlockedBy.String() + " reports"
	case p.LastHop > 0 && p.Way == "":
		return fmt.Sprintf(" after hop %d%s", p.LastHop, r.hopAddress(p.LastHop))
	}
	return ""
}

// hopAddress is the address of the router at a distance, in parentheses, or empty.
func (r *Report) hopAddress(ttl int) string {
	if hops := r.Hops(); ttl > 0 && ttl <= len(hops) && hops[ttl-1].IsValid() {
		return " (" + hops[ttl-1].String() + ")"
	}
	return ""
}
