package report

import (
	"fmt"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
)

// compared is about the comparison of flows.
func compared(r *Report) []entry {
	if r.Flows == nil || r.Flows.At.IsZero() {
		return nil
	}
	e := entry{
		label: "flows", text: r.FlowsLost(), row: "flows", cell: r.FlowsLost(), test: "flows", at: r.Flows.At,
		sent: "the same requests from several source ports", received: r.FlowsLost(),
	}
	for _, one := range r.Flows.Results {
		if one.State == flows.Unknown && e.unknown == "" {
			e.unknown, e.why = "whether other source ports fare alike", one.Reason
		}
	}
	switch r.Flows.State() {
	case flows.Even:
		e.shows = "every source port fares alike"
	case flows.Stuck:
		e.shows = "only the flow in use is dead"
	case flows.Split:
		e.shows = "the source port decides what arrives"
	case flows.Silent:
		e.shows = "no source port is answered"
	case flows.Unknown:
		e.shows = noConclusion(e.why)
	}
	out := []entry{e}
	if answered, _ := r.fixedPorts(); answered {
		out = append(out, entry{
			label: "source ports", text: "IKE is answered from the source ports 500 and 4500, and from no other: set `ike.source_port: fixed` (check: --source-port=fixed)",
		})
	}
	return out
}

// fixedPorts reports whether the peer answers IKE to the source ports 500 and 4500 only, and
// whether it was asked from there.
func (r *Report) fixedPorts() (answered, tried bool) {
	if r.Flows == nil {
		return false, false
	}
	for _, m := range collectors.IKEMethods() {
		of := r.Flows.Of(m)
		answered, tried = answered || of.Fixed, tried || of.FixedTried
	}
	return answered, tried
}

// FlowsLost says how many flows are answered by each method.
func (r *Report) FlowsLost() string {
	if r.Flows == nil {
		return ""
	}
	var parts []string
	for _, one := range r.Flows.Results {
		size := ""
		if one.Bytes > 0 {
			size = fmt.Sprintf(" with %d bytes", one.Bytes)
		}
		parts = append(parts, fmt.Sprintf("%s%s: %d of %d answered", one.Method, size, one.Tested-one.Lost, one.Tested))
	}
	return strings.Join(parts, ", ")
}

// jsonFlows is a comparison of flows by one method.
type jsonFlows struct {
	Method string `json:"method"`
	// State is even, stuck, split, silent or unknown.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Bytes is the size of the packets, where only large ones are lost.
	Bytes  int `json:"bytes,omitempty"`
	Tested int `json:"tested"`
	Lost   int `json:"lost"`
	// FixedOnly: IKE is answered from the source ports 500 and 4500 only.
	FixedOnly bool `json:"fixed_source_port_only,omitempty"`
}

func jsonOfFlows(r *flows.Result) jsonFlows {
	return jsonFlows{r.Method.String(), r.State.String(), r.Reason, r.Bytes, r.Tested, r.Lost, r.Fixed}
}
