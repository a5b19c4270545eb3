package report

import (
	"fmt"
	"strings"
)

// A finding is one test: what was sent, what came back, and what that shows.
type finding struct{ test, sent, back, shows string }

// findings are all tests of the report.
func (r *Report) findings() (out []finding) {
	if r.ICMP != nil {
		out = append(out, r.ICMP.finding(r.v6()))
	}
	for i := range r.IKE {
		out = append(out, r.IKE[i].finding())
	}
	for i := range r.IKE {
		if f, ok := r.IKE[i].fragmentsFinding(); ok {
			out = append(out, f)
		}
	}
	for i := range r.MTU {
		out = append(out, r.MTU[i].finding(r))
	}
	for i := range r.Protocols {
		out = append(out, r.Protocols[i].finding(r))
	}
	if r.Reverse != nil {
		out = append(out, r.Reverse.finding())
	}
	for i := range r.Gateways {
		out = append(out, r.Gateways[i].finding())
	}
	return out
}

// complaint is an ICMP error that came, in words.
func complaint(name, from string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; ICMP %s from %s", strings.ReplaceAll(name, "_", " "), from)
}

func (i *ICMP) finding(v6 bool) finding {
	size := 84 // RFC 792: headers of 20 and 8 bytes, and the 56 of data that ping sends
	if v6 {
		size = 104
	}
	f := finding{"ICMP echo", fmt.Sprintf("%d requests of %d bytes", i.Sent, size), fmt.Sprintf("%d replies", i.Received), ""}
	f.back += complaint(i.Error, i.ErrorFrom)
	switch i.State {
	case "reachable":
		f.shows = "small ICMP echo passes there and back"
	case "silent":
		f.shows = "ICMP echo is filtered, or the peer does not answer it"
	default:
		f.shows = "nothing: " + foreign(i.Reason)
	}
	return f
}

func (i *IKE) finding() finding {
	port := fmt.Sprintf("UDP port %d", i.Port)
	f := finding{test: "IKE, " + port, sent: "first messages of an exchange that leave no state, to " + port}
	switch i.State {
	case "responding":
		f.sent = "the first message of an exchange (" + i.Probe + "), to " + port
		f.back = fmt.Sprintf("IKEv%d %s%s", i.Version, i.Reply, milliseconds(i.RoundTrip))
		f.shows = port + " passes there and back, and IKE answers"
	case "silent":
		f.back = "nothing"
		f.shows = port + " is filtered on the way there or back, or the peer does not answer this source"
	case "refused":
		f.back = "ICMP port unreachable from the peer itself"
		f.shows = "packets arrive, and nobody listens on " + port + " there"
	default:
		f.back, f.shows = "not known", "nothing: "+foreign(i.Reason)
	}
	f.back += complaint(i.Error, i.ErrorFrom)
	return f
}

func (i *IKE) fragmentsFinding() (finding, bool) {
	f := finding{test: fmt.Sprintf("fragments, UDP port %d", i.Port), sent: "IKE messages in IP fragments, and where those stay unanswered the same ones whole"}
	switch i.Fragments {
	case "pass":
		f.back, f.shows = "an answer to one in fragments", "IP fragments pass on the way there and are put together by the peer"
	case "dropped":
		f.back, f.shows = "answers to the whole ones only", "IP fragments are dropped on the way there, or by the peer"
	case "unknown":
		f.back, f.shows = "not known", "nothing: "+foreign(i.FragmentsReason)
	default:
		return f, false
	}
	return f, true
}

func (m *MTU) finding(r *Report) finding {
	carrier := map[string]string{
		"icmp": "ICMP echoes", "ike": fmt.Sprintf("IKE messages to UDP port %d", r.port("ike", 500)),
		"natt": fmt.Sprintf("IKE messages to UDP port %d", r.port("natt", 4500)),
	}[m.Method]
	f := finding{test: "path MTU, " + m.Method, sent: fmt.Sprintf("%s of up to %d bytes with DF (%s)", carrier, m.LinkBytes, m.packets())}
	ptb := fmt.Sprintf("packet too big: %d", m.PTBReceived)
	if m.PTBFrom != "" {
		ptb += fmt.Sprintf(", the last from %s naming %d bytes", m.PTBFrom, m.PTBMTU)
	}
	switch m.State {
	case "clean":
		f.back, f.shows = "an answer to the largest", fmt.Sprintf("packets of %d bytes pass, the most that this host can send", m.Bytes)
	case "reduced":
		f.back = fmt.Sprintf("an answer up to %d bytes; %s", m.Bytes, ptb)
		f.shows = fmt.Sprintf("the path carries %d bytes, and its routers say so", m.Bytes)
	case "black_hole":
		f.back = fmt.Sprintf("an answer at %d bytes, none at %d and above; %s", m.Bytes, m.Bytes+1, ptb)
		f.shows = fmt.Sprintf("larger packets vanish%s, and no router names a size that passes", m.where())
		if m.Method == "icmp" {
			f.shows += "; request or reply"
		}
	case "unreachable":
		f.back, f.shows = "nothing, not even to small ones", "nothing about sizes"
	default:
		f.back = "too little for a verdict"
		if m.Bytes > 0 {
			f.back = fmt.Sprintf("an answer at %d bytes, and too little for a verdict on larger ones; %s", m.Bytes, ptb)
		}
		f.shows = "nothing about sizes above: " + foreign(m.Reason)
	}
	return f
}

// protocolNames are kinds of packets as people call them. ESP and AH have no ports (RFC 4303, RFC 4302).
func protocolName(name string, r *Report) string {
	switch name {
	case "esp":
		return "ESP (IP protocol 50)"
	case "ah":
		return "AH (IP protocol 51)"
	case "icmp":
		return "ICMP echo"
	case "udp500":
		return fmt.Sprintf("UDP port %d", r.port("ike", 500))
	case "udp4500":
		return fmt.Sprintf("UDP port %d", r.port("natt", 4500))
	case "esp_udp":
		return fmt.Sprintf("ESP in UDP port %d", r.port("natt", 4500))
	}
	return foreign(name)
}

func (p *Protocol) finding(r *Report) finding {
	name := protocolName(p.Protocol, r)
	f := finding{test: "reach, " + name, sent: name + " with growing TTL", back: "answers from no router"}
	if p.LastHop > 0 {
		f.back = fmt.Sprintf("answers up to hop %d%s", p.LastHop, r.hopAddress(p.LastHop))
		if p.Hops > 0 {
			f.back += fmt.Sprintf(" of %d", p.Hops)
		}
	}
	switch p.State {
	case "passes":
		f.shows = name + " reaches the peer"
	case "blocked":
		f.shows = name + " is filtered" + r.filteredAt(p.Protocol)
	default:
		f.shows = "not whether it arrives: " + foreign(p.Reason)
	}
	return f
}

func (b *Reverse) finding() finding {
	f := finding{test: "the way back", sent: "small packets that ask for large replies", back: b.bounds()}
	if f.back == "" {
		f.back = "not known"
	}
	switch b.State {
	case "clean":
		f.shows = "large packets pass on the way back"
	case "reduced":
		f.shows = "the way back carries less, and large replies arrive in pieces"
	case "black_hole":
		f.shows = "large replies vanish on the way back"
	default:
		f.shows = "nothing: " + foreign(b.Reason)
	}
	return f
}
