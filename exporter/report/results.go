package report

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
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
	}
}

// OfDiagnoses are the diagnoses that hold as they are reported. There may be none, but the list is never null.
func OfDiagnoses(all []diagnosis.Held) []Diagnosis {
	out := make([]Diagnosis, 0, len(all))
	for _, d := range all {
		out = append(out, Diagnosis{Name: d.Name, Summary: d.Summary, Evidence: d.Evidence})
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
