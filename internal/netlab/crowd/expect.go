package crowd

// An Expectation is the verdict that a correct measurement of a peer reaches with all collectors, in
// the words of the exporter's metrics.
type Expectation struct {
	// Diagnoses are those that hold, sorted. No other one may.
	Diagnoses []string `json:"diagnoses"`
	// Reachable is whether echo requests are answered, nil where loss may make it either.
	Reachable *bool `json:"icmp_reachable,omitempty"`
	// Responding is whether IKE is answered, by method; empty where loss may make it either.
	Responding map[string]bool `json:"ike_responding"`
	// States are the states of the path MTU by method, and Bytes its size, for the methods of which
	// anything arrives. A method is missing where loss may leave it undecided.
	States map[string]string `json:"mtu_state"`
	Bytes  map[string]int    `json:"mtu_bytes"`
}

// The methods by which a path is measured.
const (
	methodICMP = "icmp"
	methodIKE  = "ike"
	methodNATT = "natt"
)

// Expect returns the verdict that a correct measurement of the peer reaches.
func (p *Profile) Expect() Expectation {
	e := Expectation{
		Diagnoses: traits[p.Kind].diagnoses, Responding: make(map[string]bool), States: make(map[string]string), Bytes: make(map[string]int),
	}
	if p.Loss >= heavyLoss {
		return e
	}
	reachable := p.heard(p.Echo)
	e.Reachable = &reachable
	e.Responding[methodIKE], e.Responding[methodNATT] = p.heard(p.IKE), p.heard(p.NATT)
	for method, reaction := range map[string]Reaction{methodICMP: p.Echo, methodIKE: p.IKE, methodNATT: p.NATT} {
		state, bytes := p.pathMTU(method)
		switch {
		case p.heard(reaction):
			e.States[method], e.Bytes[method] = state, bytes
		case reaction != Refuses && !p.Unreachable:
			e.States[method] = "unreachable"
		}
	}
	return e
}

// heard reports whether replies to packets with this reaction come back.
func (p *Profile) heard(r Reaction) bool { return r == Answers && !p.RepliesLost && !p.Unreachable }

// pathMTU returns the state and the size that a method finds. Replies to IKE are small, but an echo
// reply is as large as its request.
func (p *Profile) pathMTU(method string) (state string, bytes int) {
	switch {
	case p.MTU < DefaultMTU && p.TooBig:
		return "reduced", p.MTU
	case p.MTU < DefaultMTU:
		return "black_hole", p.MTU
	case method == methodICMP && p.ReverseDrop:
		return "black_hole", p.ReverseMTU
	}
	return "clean", DefaultMTU
}
