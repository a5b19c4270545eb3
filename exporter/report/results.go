package report

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
	icmpwire "ipsec_path_exporter/internal/wire/icmp"
)

// OfICMP is a result of echo requests as it is reported.
func OfICMP(r *icmp.Result) *ICMP {
	out := &ICMP{State: r.State.String(), Sent: r.Sent, Received: r.Received, RoundTrip: seconds(r.Avg)}
	if r.State == icmp.Unknown {
		out.Reason = r.Reason
	}
	if r.Error.Outcome != 0 {
		out.Error, out.ErrorFrom = errorName(r.Error.From, r.Error.Type, r.Error.Code), address(r.Error.From)
	}
	return out
}

// OfIKE is a result of IKE probes by one method as it is reported.
func OfIKE(m collectors.Method, r *ike.Result) IKE {
	out := IKE{Method: m.String(), Port: r.Port, State: r.State.String(), Reason: r.Reason}
	if r.State == ike.Responding {
		out.Version, out.Probe, out.Reply, out.RoundTrip = int(r.Version), r.Form.String(), r.Reply, seconds(r.RoundTrip)
	}
	if r.Error.Outcome != 0 {
		out.Error, out.ErrorFrom = errorName(r.Error.From, r.Error.Type, r.Error.Code), address(r.Error.From)
	}
	return out
}

// OfMTU is a result of a path MTU search as it is reported.
func OfMTU(r *pmtu.Result) MTU {
	return MTU{
		Method: r.Method.String(), State: r.State.String(), Reason: r.Reason, Bytes: r.Bytes, LinkBytes: r.LinkBytes,
		Packets: r.Packets, Seconds: r.Duration.Seconds(), PTBReceived: r.PTBReceived, PTBRejected: r.PTBRejected,
		PTBFrom: address(r.PTBFrom), PTBMTU: r.PTBMTU,
		LastHopPassed: address(r.LastHopPassed), FirstHopFailed: address(r.FirstHopFailed),
	}
}

// OfReverse is what was found out about the way back as it is reported.
func OfReverse(r *pmtu.Reverse) *Reverse {
	out := &Reverse{State: r.State.String(), LowerBytes: r.LowerBytes, UpperBytes: r.UpperBytes}
	if r.State == pmtu.Unknown {
		out.Reason = r.Reason
	}
	return out
}

// Fragmented adds what became of IKE messages in fragments.
func (i *IKE) Fragmented(r *fragments.Result) {
	i.Fragments, i.FragmentsReason = r.State.String(), r.Reason
}

// OfProtocols is how far the protocols get as it is reported.
func OfProtocols(r *protocols.Results) []Protocol {
	out := make([]Protocol, 0, len(r.Results))
	for i := range r.Results {
		one := &r.Results[i]
		out = append(out, Protocol{
			Protocol: string(one.Protocol), State: one.State.String(), Reason: one.Reason, LastHop: one.LastHop, Hops: r.Distance,
			BlockedBy: address(one.BlockedBy),
		})
	}
	return out
}

// OfHops are the routers on the way as they are reported.
func OfHops(hops []netip.Addr) []Hop {
	out := make([]Hop, 0, len(hops))
	for i, a := range hops {
		out = append(out, Hop{TTL: i + 1, Address: address(a)})
	}
	return out
}

// OfDiagnoses are the diagnoses that hold as they are reported. There may be none, but the list is never null.
func OfDiagnoses(all []diagnosis.Held) []Diagnosis {
	out := make([]Diagnosis, 0, len(all))
	for _, d := range all {
		out = append(out, Diagnosis{Name: d.Name, Gateway: d.Gateway, Summary: d.Summary, Evidence: d.Evidence})
	}
	return out
}

// seconds is a duration as the JSON form has it, null if there is none.
func seconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// address is empty for the zero Addr.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// errorName names an ICMP error that came from an address.
func errorName(from netip.Addr, typ, code uint8) string {
	return icmpwire.ErrorName(from.Is6() && !from.Is4In6(), typ, code)
}
