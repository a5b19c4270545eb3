package report

import (
	"cmp"
	"fmt"
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/untrusted"
)

// A document is a report with everything that follows from it. It is the data of the templates in
// texts: its methods and fields, including the ones of Report, are what a template can name. What
// is unknown is nil, 0 or empty there.
type document struct {
	*Report
	// Advice is in the order of the diagnoses.
	Advice  []Advice
	Unknown []Unknown
	// Comparison is what the reports of the same peer via several ways show together.
	Comparison string
}

// conclude draws everything that follows from the reports of one run.
func conclude(reports []*Report) ([]*document, error) {
	out := make([]*document, 0, len(reports))
	for _, r := range reports {
		d := &document{Report: r, Unknown: r.unknowns()}
		for i := range r.Diagnoses {
			a, err := d.advise(r.Diagnoses[i].Name)
			if err != nil {
				return nil, err
			}
			d.Advice = append(d.Advice, a)
		}
		out = append(out, d)
	}
	for _, ways := range byPeer(out) {
		if len(ways) < 2 {
			continue
		}
		comparison, err := compare(ways)
		if err != nil {
			return nil, err
		}
		for _, d := range ways {
			d.Comparison = comparison
		}
	}
	return out, nil
}

// byPeer groups successive reports of the same peer.
func byPeer(all []*document) (groups [][]*document) {
	for _, d := range all {
		if n := len(groups); n > 0 && groups[n-1][0].Peer == d.Peer {
			groups[n-1] = append(groups[n-1], d)
			continue
		}
		groups = append(groups, []*document{d})
	}
	return groups
}

// To is the peer's address, or its name where that was not resolved.
func (d *document) To() string { return cmp.Or(address(d.Address), untrusted.Line(d.Peer)) }

// SilentAddresses are the other addresses of the name that did not answer, in words.
func (d *document) SilentAddresses() string {
	var all []string
	for i := range d.Addresses {
		if a := &d.Addresses[i]; a.State == Silent {
			all = append(all, a.Address.String())
		}
	}
	return cmp.Or(and(all), "another address")
}

// From is the source address, or words for it.
func (d *document) From() string { return cmp.Or(address(d.Source), "this site") }

// TooBig names "packet too big" as a filter does (RFC 792; RFC 4443, section 3.2).
func (d *document) TooBig() string {
	if d.V6() {
		return "ICMPv6 type 2 (packet too big)"
	}
	return "ICMP type 3 code 4 (fragmentation needed)"
}

// IKEPort is the UDP port of IKE without NAT traversal.
func (d *document) IKEPort() uint16 { return d.Port(collectors.IKE) }

// NATTPort is the UDP port of IKE with NAT traversal.
func (d *document) NATTPort() uint16 { return d.Port(collectors.NATT) }

// A Hole is a black hole on the path to the peer.
type Hole struct {
	*pmtu.Result
	// Where is its place with a leading space. Lie means that a router names a size that is lost.
	Where string
	Lie   bool
	// Carrier is the kind of packets that vanish, Larger are the kinds of larger packets that pass,
	// empty if none do.
	Carrier, Larger string
	// To is what Bytes are known to reach: the peer, or the last router that shows it.
	To string
	// Either means that replies may vanish in place of requests.
	Either bool
	place  segment
}

// Next is the smallest size that is lost.
func (h *Hole) Next() int { return h.Bytes + 1 }

// Hole is the black hole on the path to the peer, nil if no search shows one.
func (d *document) Hole() *Hole {
	s := d.hole()
	if s == nil {
		return nil
	}
	h := &Hole{Result: s, place: segment{s.LastHopPassed, s.FirstHopFailed}, Lie: s.PTBReceived > 0 && s.PTBFrom.IsValid(), Carrier: d.carrier(s.Method), To: d.To()}
	if s.Method == collectors.ICMP {
		h.Either = d.PMTU.Direction() == pmtu.AnyDirection
		if f := d.out(); f != nil && f.State == search.BlackHole && f.LowerBytes > s.Bytes {
			wider := *s
			wider.Bytes = f.LowerBytes
			h.Result, h.place, h.To = &wider, segment{f.LastHopPassed, f.FirstHopFailed}, cmp.Or(address(f.LastHopPassed), h.To)
		}
	}
	h.Where = between(h.place.behind, h.place.before)
	for i, m := range s.LargerBy {
		if i > 0 {
			h.Larger += " and "
		}
		h.Larger += d.carrier(m)
	}
	return h
}

// carrier is the kind of packets that a method sends.
func (d *document) carrier(m collectors.Method) string {
	if m == collectors.ICMP {
		return "ICMP echo"
	}
	return fmt.Sprintf("UDP port %d", d.Port(m))
}

// Outward is what routers show of the path to the peer if large packets get as far as to the last
// router, nil otherwise.
func (d *document) Outward() *pmtu.Forward {
	if f := d.out(); f != nil && f.State == search.Clean {
		return f
	}
	return nil
}

// BackPlace is where large replies vanish, with a leading space, or empty.
func (d *document) BackPlace() string {
	if b := d.back(); b != nil && b.State == search.BlackHole {
		return between(b.FirstHopFailed, b.LastHopPassed)
	}
	return ""
}

// EchoHole is the size above which only echoes vanish, not IKE messages, or only replies; 0 if
// there is none.
func (d *document) EchoHole() int {
	if s := d.echoHole(); s != nil {
		return s.Bytes
	}
	return 0
}

// Arrives is a size of IKE messages that reach the peer, 0 if unknown or behind a black hole.
func (d *document) Arrives() int {
	if d.hole() != nil || d.search(collectors.IKE) == nil && d.search(collectors.NATT) == nil {
		return 0
	}
	return d.PathMTU()
}

// PathMTU is the size for which the tunnel is computed, 0 if unknown.
func (d *document) PathMTU() int {
	if d.Tunnel != nil {
		return d.Tunnel.PathBytes
	}
	return tunnelmtu.PathMTU(d.searches())
}

// LinkBytes is the largest packet that was tried, 0 if unknown.
func (d *document) LinkBytes() (largest int) {
	for _, s := range d.searches() {
		largest = max(largest, s.LinkBytes)
	}
	return largest
}

// Back are the bounds of the reverse path MTU in words, empty if unknown.
func (d *document) Back() string {
	if b := d.back(); b != nil {
		return bounds(b)
	}
	return ""
}

// BackTunnel is the tunnel that the path allows in both directions, nil if that is unknown.
func (d *document) BackTunnel() *tunnelmtu.Settings {
	size := d.EchoHole()
	if b := d.back(); b != nil && b.LowerBytes > 0 {
		size = b.LowerBytes
	}
	if d.Tunnel == nil || size == 0 {
		return nil
	}
	return d.Tunnel.Over(min(size, d.Tunnel.PathBytes))
}

// NATTunnel is the tunnel with ESP in UDP, nil if unknown.
func (d *document) NATTunnel() *tunnelmtu.Settings {
	if d.Tunnel == nil {
		return nil
	}
	t := d.Tunnel.ESP
	t.UDP = true
	return t.Over(d.Tunnel.PathBytes)
}

// ESPStop is where ESP is blocked, with a leading space or comma, or empty.
func (d *document) ESPStop() string { return d.stop(protocols.ESP) }

// AHStop is ESPStop for AH.
func (d *document) AHStop() string { return d.stop(protocols.AH) }

// ESPUDPStop is ESPStop for ESP in UDP.
func (d *document) ESPUDPStop() string { return d.stop(protocols.ESPInUDP) }

// IKEStop is where the port of IKE is filtered, with a leading space or comma, or empty.
func (d *document) IKEStop() string { return d.portStop(collectors.IKE, protocols.UDP500) }

// NATTStop is IKEStop for the port of NAT traversal.
func (d *document) NATTStop() string { return d.portStop(collectors.NATT, protocols.UDP4500) }

func (d *document) portStop(m collectors.Method, p protocols.Protocol) string {
	if at := d.stop(p); at != "" || d.IKE == nil {
		return at
	}
	if e := d.IKE.Of(m).Error; e.From.IsValid() {
		return ", as " + e.From.String() + " reports"
	}
	return ""
}

// IKE500Answers reports whether IKE is answered on its own port, NATTAnswers on that of NAT
// traversal.
func (d *document) IKE500Answers() bool { return d.IKE != nil && d.IKE.IKE.State == ike.Responding }

func (d *document) NATTAnswers() bool { return d.IKE != nil && d.IKE.NATT.State == ike.Responding }

// Refusal is an ICMP error that came for requests, in parentheses with a leading space, or empty.
func (d *document) Refusal() string {
	var all []collectors.PathError
	if d.IKE != nil {
		all = append(all, d.IKE.IKE.Error, d.IKE.NATT.Error)
	}
	if d.ICMP != nil {
		all = append(all, d.ICMP.Error)
	}
	for i := range all {
		if e := &all[i]; e.From.IsValid() {
			return fmt.Sprintf(" (ICMP %s from %s)", words(e.Name()), e.From)
		}
	}
	return ""
}

// EchoArrives reports whether echo requests get to the last router before the peer.
func (d *document) EchoArrives() bool {
	p := d.protocol(protocols.ICMP)
	return p != nil && p.State == protocols.Unknown && d.Protocols.Distance > 1 && p.LastHop >= d.Protocols.Distance-1
}

// EchoSilent reports whether no echo was answered.
func (d *document) EchoSilent() bool { return d.ICMP != nil && d.ICMP.State == icmp.Silent }

// EchoLoss is how many echo requests were lost, empty if none were.
func (d *document) EchoLoss() string {
	if d.ICMP == nil || echoLoss(d.ICMP).Lost == 0 {
		return ""
	}
	s := echoLoss(d.ICMP)
	return fmt.Sprintf("%d of %d echo requests (%.0f %%)", s.Lost, s.Sent, 100*s.Share())
}

// IKESilent reports whether IKE is silent on any port.
func (d *document) IKESilent() bool { return d.ikeIs(ike.Silent) }

// IKEAnswers reports whether IKE answers on any port.
func (d *document) IKEAnswers() bool { return d.ikeIs(ike.Responding) }

// ESPPasses reports whether ESP is known to reach the peer.
func (d *document) ESPPasses() bool {
	p := d.protocol(protocols.ESP)
	return p != nil && p.State == protocols.Passes
}

// SizesDiffer reports whether methods found different path MTUs.
func (d *document) SizesDiffer() bool {
	size := 0
	return slices.ContainsFunc(d.searches(), func(s pmtu.Result) bool {
		if !tunnelmtu.Conclusive(&s) {
			return false
		}
		size = cmp.Or(size, s.Bytes)
		return size != s.Bytes
	})
}

// CarrierNAT reports whether the own address is one that a carrier shares between its customers.
func (d *document) CarrierNAT() bool { return private(d.Source) && !inside(d.Source) }

// GatewayAddress stands for the gateway at this end in commands.
func (d *document) GatewayAddress() string {
	if !d.Source.IsValid() || d.Hidden() {
		return "OUR-PUBLIC-ADDRESS"
	}
	return d.From()
}

// HostBits is the length of the prefix of one address.
func (d *document) HostBits() int {
	if d.V6() {
		return 128
	}
	return 32
}

// Reversed reports whether the reverse path was tested.
func (d *document) Reversed() bool { return d.back() != nil }

// Hidden reports whether NAT hides the own address: it is private, and the peer's is not.
func (d *document) Hidden() bool { return private(d.Source) && !private(d.Address) }

// Workarounds and Verifications are the lines of all advice, each once.
func (d *document) Workarounds() []string {
	return d.all(func(a *Advice) []string { return a.Workaround })
}

func (d *document) Verifications() []string {
	return d.all(func(a *Advice) []string { return a.Verification })
}

func (d *document) all(of func(*Advice) []string) (out []string) {
	for i := range d.Advice {
		for _, line := range of(&d.Advice[i]) {
			if !slices.Contains(out, line) {
				out = append(out, line)
			}
		}
	}
	return out
}
