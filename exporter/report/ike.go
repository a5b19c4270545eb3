package report

import (
	"fmt"
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
)

// ikeReplies is about IKE messages to both ports.
func ikeReplies(r *Report) (out []entry) {
	if r.IKE == nil {
		return nil
	}
	for _, m := range collectors.IKEMethods() {
		i := r.IKE.Of(m)
		out = append(out, ikeReply(&i))
	}
	if why := r.undecidedPorts(); why != "" {
		out = append(out, entry{label: "IKE", text: why, unknown: "whether IKE requests reach the peer", why: why})
	}
	return out
}

// undecidedPorts is what is said where both ports are silent and nothing shows why, else empty.
func (r *Report) undecidedPorts() string {
	silent := r.IKE.IKE.State == ike.Silent && r.IKE.NATT.State == ike.Silent
	if !silent || len(r.Diagnoses) > 0 || r.ICMP == nil || r.ICMP.State != icmp.Reachable {
		return ""
	}
	answered, tried := r.fixedPorts()
	how := ""
	switch {
	case answered:
		return ""
	case !tried:
		how = " with `--source-port=fixed`, because it may accept no other source ports than 500 and 4500"
	}
	return "neither port is answered, and nothing shows a filter: a gateway may ignore unknown sources; " +
		"a check from the address of a configured peer" + how + ", or a capture at the peer, would prove which"
}

func ikeReply(i *ike.Result) entry {
	port := fmt.Sprintf("UDP port %d", i.Port)
	note := icmpError(&i.Error)
	e := entry{
		at: i.At, label: fmt.Sprintf("IKE, UDP %d", i.Port), text: because(i.State.String(), i.Reason),
		row: fmt.Sprintf("UDP %d", i.Port), cell: i.State.String(),
		test: "IKE, " + port, sent: "IKE requests that leave no state, to " + port,
	}
	switch i.State {
	case ike.Responding:
		reply := fmt.Sprintf("IKEv%d %s", i.Version, i.Reply)
		e.text += fmt.Sprintf(": %s to %s%s", reply, i.Form, milliseconds(i.RoundTrip))
		e.cell += milliseconds(i.RoundTrip)
		e.sent = "an IKE request (" + i.Form.String() + "), to " + port
		e.received = reply + milliseconds(i.RoundTrip)
		e.shows = port + " passes in both directions, and IKE answers"
	case ike.Silent:
		e.received = "nothing"
		e.shows = port + " is filtered in one direction, or the peer does not answer this source"
		if i.Error.From.IsValid() {
			e.received, e.shows = "no IKE message", "packets to "+port+" are refused"
		}
	case ike.Refused:
		e.received = "ICMP port unreachable from the peer itself"
		e.shows = "packets arrive, and no process listens on " + port + " there"
	case ike.Unknown:
		e.received, e.shows = "unknown", noConclusion(i.Reason)
		e.unknown, e.why = fmt.Sprintf("whether IKE is answered on UDP port %d", i.Port), i.Reason
	}
	e.text += note
	e.received += note
	return e
}

// ikeIs reports whether IKE has a state on any port.
func (r *Report) ikeIs(s ike.State) bool {
	return r.IKE != nil && slices.ContainsFunc(collectors.IKEMethods(), func(m collectors.Method) bool { return r.IKE.Of(m).State == s })
}
