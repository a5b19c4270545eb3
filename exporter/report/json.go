package report

import (
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

// WriteJSON writes reports in their documented form, which the types in this file describe.
func WriteJSON(w io.Writer, reports []*Report) error {
	documents, err := conclude(reports)
	if err != nil {
		return err
	}
	out := make([]jsonReport, len(documents))
	for i, d := range documents {
		out[i] = d.json()
	}
	e := json.NewEncoder(untrusted.Writer(w))
	e.SetIndent("", "  ")
	return e.Encode(out)
}

type jsonReport struct {
	Peer       string                `json:"peer"`
	Address    netip.Addr            `json:"address"`
	Family     string                `json:"family"`
	Addresses  []Address             `json:"other_addresses,omitempty"`
	Via        string                `json:"via"`
	Source     netip.Addr            `json:"source,omitzero"`
	Interface  string                `json:"interface,omitempty"`
	Ways       []jsonWay             `json:"ways,omitempty"`
	Started    time.Time             `json:"started"`
	Seconds    float64               `json:"seconds"`
	Healthy    bool                  `json:"healthy"`
	Diagnoses  []diagnosis.Diagnosis `json:"diagnoses"`
	ICMP       *jsonICMP             `json:"icmp,omitempty"`
	MTU        []jsonMTU             `json:"mtu,omitempty"`
	IKE        []jsonIKE             `json:"ike,omitempty"`
	Protocols  []jsonProtocol        `json:"protocols,omitempty"`
	Flows      []jsonFlows           `json:"flows,omitempty"`
	Inside     []jsonInside          `json:"inside,omitempty"`
	Partner    *jsonPartner          `json:"partner,omitempty"`
	Direction  string                `json:"mtu_direction,omitempty"`
	Forward    *jsonForward          `json:"forward,omitempty"`
	Reverse    *jsonReverse          `json:"reverse,omitempty"`
	Hops       []jsonHop             `json:"hops,omitempty"`
	Tunnel     *jsonTunnel           `json:"tunnel,omitempty"`
	Gateways   []jsonGateway         `json:"gateways,omitempty"`
	History    *jsonHistory          `json:"history,omitempty"`
	Comparison string                `json:"comparison,omitempty"`
	Advice     []Advice              `json:"advice,omitempty"`
	Unknown    []Unknown             `json:"unknown,omitempty"`
	Errors     []string              `json:"errors,omitempty"`
}

// jsonWay is how the probes of a method leave this host.
type jsonWay struct {
	Method string `json:"method"`
	Way    string `json:"way"`
	Apart  bool   `json:"apart"`
}

type jsonICMP struct {
	// State is reachable, silent or unknown.
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	Sent      int      `json:"sent"`
	Received  int      `json:"received"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	// Loss is the lost share of the newest sample, null while nothing came back. RoundTrip is the
	// mean; the others are the least, the most, and the mean difference between successive ones.
	Loss   *float64 `json:"loss_ratio"`
	Min    *float64 `json:"round_trip_min_seconds"`
	Max    *float64 `json:"round_trip_max_seconds"`
	Jitter *float64 `json:"jitter_seconds"`
	jsonError
}

// jsonError is an ICMP error that came instead of a reply.
type jsonError struct {
	Error     string     `json:"error,omitempty"`
	ErrorFrom netip.Addr `json:"error_from,omitzero"`
}

type jsonMTU struct {
	Method string `json:"method"`
	// State is clean, reduced, black_hole, unreachable or inconclusive. Sizes are of IP packets.
	State          string     `json:"state"`
	Reason         string     `json:"reason,omitempty"`
	Note           string     `json:"note,omitempty"`
	Bytes          int        `json:"bytes"`
	LinkBytes      int        `json:"link_bytes"`
	Packets        int        `json:"packets"`
	Seconds        float64    `json:"seconds"`
	PTBReceived    int        `json:"ptb_received"`
	PTBRejected    int        `json:"ptb_rejected"`
	PTBInexact     int        `json:"ptb_inexact,omitempty"`
	PTBFrom        netip.Addr `json:"ptb_from,omitzero"`
	PTBMTU         int        `json:"ptb_mtu,omitempty"`
	LastHopPassed  netip.Addr `json:"last_hop_passed,omitzero"`
	FirstHopFailed netip.Addr `json:"first_hop_failed,omitzero"`
}

type jsonIKE struct {
	Method string `json:"method"`
	Port   uint16 `json:"port"`
	// State is responding, silent, refused or unknown.
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	Version   int      `json:"version,omitempty"`
	Probe     string   `json:"probe,omitempty"`
	Reply     string   `json:"reply,omitempty"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	jsonError
	// Fragments is pass, dropped or unknown, empty if fragments were not tested.
	Fragments       string `json:"fragments,omitempty"`
	FragmentsReason string `json:"fragments_reason,omitempty"`
	// LongFragments is about messages of 3000 bytes in three fragments or more, ReversedFragments
	// about fragments that arrive in reverse order.
	LongFragments     string `json:"fragments_long,omitempty"`
	ReversedFragments string `json:"fragments_reversed,omitempty"`
}

type jsonProtocol struct {
	// Protocol is icmp, udp500, udp4500, esp, ah or esp_udp, State passes, blocked or unknown.
	Protocol string `json:"protocol"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	// LastHop is the distance of the last router that received one, Hops the distance of the peer.
	LastHop   int        `json:"last_hop,omitempty"`
	Hops      int        `json:"hops,omitempty"`
	BlockedBy netip.Addr `json:"blocked_by,omitzero"`
	// Error is the ICMP error of BlockedBy.
	Error string `json:"error,omitempty"`
	// Way is how it leaves this host, if by another way than IKE.
	Way string `json:"way,omitempty"`
}

type jsonReverse struct {
	// State is clean, reduced, black_hole or unknown.
	State      string `json:"state"`
	LowerBytes int    `json:"lower_bytes,omitempty"`
	UpperBytes int    `json:"upper_bytes,omitempty"`
	Reason     string `json:"reason,omitempty"`
	// Larger replies of LastHopPassed come back, of FirstHopFailed they do not.
	LastHopPassed  netip.Addr `json:"last_hop_passed,omitzero"`
	FirstHopFailed netip.Addr `json:"first_hop_failed,omitzero"`
}

// jsonForward is what routers show of the path to the peer, in the same words. LowerBytes get to
// LastHopPassed.
type jsonForward jsonReverse

type jsonHop struct {
	TTL     int        `json:"ttl"`
	Address netip.Addr `json:"address"`
}

type jsonTunnel struct {
	MTUBytes      int    `json:"mtu_bytes"`
	MSSBytes      int    `json:"mss_bytes"`
	Cipher        string `json:"cipher"`
	Encapsulation string `json:"encapsulation"`
}

type jsonGateway struct {
	Gateway  string    `json:"gateway"`
	Type     string    `json:"type,omitempty"`
	Version  string    `json:"version,omitempty"`
	Read     time.Time `json:"read"`
	Expected bool      `json:"expected"`
	// Up is yes, no or unknown.
	Up           string         `json:"up"`
	IKESAs       []jsonIKESAs   `json:"ike_sas"`
	VendorStates map[string]int `json:"vendor_states,omitempty"`
	ChildSAs     map[string]int `json:"child_sas,omitempty"`
	Established  *time.Time     `json:"established,omitempty"`
	// Counters are null where the gateway does not count.
	PacketsIn     *uint64 `json:"packets_in"`
	PacketsOut    *uint64 `json:"packets_out"`
	BytesIn       *uint64 `json:"bytes_in"`
	BytesOut      *uint64 `json:"bytes_out"`
	PacketsLost   *uint64 `json:"packets_lost,omitempty"`
	PathMTUBytes  int     `json:"path_mtu_bytes,omitempty"`
	Encapsulation string  `json:"encapsulation,omitempty"`
}

type jsonIKESAs struct {
	Version int    `json:"version,omitempty"`
	State   string `json:"state"`
	Count   int    `json:"count"`
}

type jsonHistory struct {
	Baseline []string `json:"baseline,omitempty"`
	Changes  []string `json:"changes,omitempty"`
}

func (d *document) json() jsonReport {
	out := jsonReport{
		Peer: d.Peer, Address: d.Address, Addresses: d.Addresses, Via: d.Via, Source: d.Source, Interface: d.Interface,
		Started: d.Started, Seconds: d.Took.Seconds(), Healthy: d.Healthy, Diagnoses: []diagnosis.Diagnosis{},
		Ways: each(d.Ways, func(w *Way) jsonWay { return jsonWay{w.Method.String(), w.By, w.Apart} }),
		MTU:  each(d.searches(), jsonOfMTU), Comparison: d.Comparison, Errors: d.Errors,
		Gateways: each(d.Gateways, jsonOfGateway), Inside: each(d.insideResults(), jsonOfInside),
		Advice: d.Advice, Unknown: d.Unknown,
	}
	for i := range d.Diagnoses {
		out.Diagnoses = append(out.Diagnoses, d.Diagnoses[i].Diagnosis)
	}
	switch {
	case d.V6():
		out.Family = "ip6"
	case d.Address.IsValid():
		out.Family = "ip4"
	}
	if d.ICMP != nil {
		out.ICMP = jsonOfICMP(d.ICMP)
	}
	if d.IKE != nil {
		for _, m := range collectors.IKEMethods() {
			one := d.IKE.Of(m)
			out.IKE = append(out.IKE, jsonOfIKE(m, &one, d.Fragments))
		}
	}
	if d.Protocols != nil {
		out.Protocols = each(d.Protocols.Results, func(p *protocols.Result) jsonProtocol {
			distance := d.Protocols.Distance
			if p.Way != "" {
				distance = p.Distance
			}
			return jsonProtocol{string(p.Protocol), p.State.String(), p.Reason, p.LastHop, distance, p.BlockedBy, p.Error, p.Way}
		})
	}
	if d.Flows != nil {
		out.Flows = each(d.Flows.Results, jsonOfFlows)
	}
	out.Partner = jsonOfPartner(d.Partner)
	d.jsonDirections(&out)
	for i, a := range d.Hops() {
		out.Hops = append(out.Hops, jsonHop{i + 1, a})
	}
	if t := d.Tunnel; t != nil {
		out.Tunnel = &jsonTunnel{t.MTUBytes, t.MSSBytes, t.Cipher.Name, t.Encapsulation()}
	}
	if d.Baseline != "" || len(d.Changes) > 0 {
		out.History = &jsonHistory{Changes: d.Past()}
		if d.Baseline != "" {
			out.History.Baseline = []string{d.Baseline}
		}
	}
	return out
}

// jsonDirections adds what is known of each direction.
func (d *document) jsonDirections(out *jsonReport) {
	if d.PMTU != nil && d.PMTU.Direction() != pmtu.NoDirection {
		out.Direction = d.PMTU.Direction().String()
	}
	if f := d.out(); f != nil {
		out.Forward = &jsonForward{f.State.String(), f.LowerBytes, f.UpperBytes, f.Reason, f.LastHopPassed, f.FirstHopFailed}
	}
	if b := d.back(); b != nil {
		out.Reverse = &jsonReverse{
			State: b.State.String(), LowerBytes: b.LowerBytes, UpperBytes: b.UpperBytes,
			LastHopPassed: b.LastHopPassed, FirstHopFailed: b.FirstHopFailed,
		}
		if b.State == search.Unknown {
			out.Reverse.Reason = b.Reason
		}
	}
}

// each maps a list, nil to nil.
func each[A, B any](list []A, f func(*A) B) (out []B) {
	for i := range list {
		out = append(out, f(&list[i]))
	}
	return out
}

func jsonOfICMP(r *icmp.Result) *jsonICMP {
	out := &jsonICMP{
		State: r.State.String(), Reason: echoReason(r), Sent: r.Sent, Received: r.Received, RoundTrip: seconds(r.Avg),
		Min: seconds(r.Min), Max: seconds(r.Max), jsonError: jsonError{r.Error.Name(), r.Error.From},
	}
	if s := echoLoss(r); s.Sent > 0 {
		out.Loss = new(s.Share())
	}
	if r.Received > 1 {
		out.Jitter = new(r.Jitter.Seconds())
	}
	return out
}

func jsonOfIKE(m collectors.Method, r *ike.Result, pieces *fragments.Results) jsonIKE {
	out := jsonIKE{Method: m.String(), Port: r.Port, State: r.State.String(), Reason: r.Reason, jsonError: jsonError{r.Error.Name(), r.Error.From}}
	if r.State == ike.Responding {
		out.Version, out.Probe, out.Reply, out.RoundTrip = int(r.Version), r.Form.String(), r.Reply, seconds(r.RoundTrip)
	}
	if pieces != nil {
		f := pieces.Of(m)
		out.Fragments, out.FragmentsReason = f.State.String(), f.Reason
		if f.LongSize > 0 {
			out.LongFragments, out.ReversedFragments = f.Long.String(), f.LastFirst.String()
		}
	}
	return out
}

func jsonOfMTU(r *pmtu.Result) jsonMTU {
	return jsonMTU{
		Method: r.Method.String(), State: r.State.String(), Reason: r.Reason, Note: r.Note, Bytes: r.Bytes, LinkBytes: r.LinkBytes,
		Packets: r.Packets, Seconds: r.Duration.Seconds(), PTBReceived: r.PTBReceived, PTBRejected: r.PTBRejected,
		PTBInexact: r.Inexact, PTBFrom: r.PTBFrom, PTBMTU: r.PTBMTU,
		LastHopPassed: r.LastHopPassed, FirstHopFailed: r.FirstHopFailed,
	}
}

func jsonOfGateway(s *gateways.Snapshot) jsonGateway {
	p := &s.Peers[0]
	out := jsonGateway{
		Gateway: s.Gateway, Type: s.Info.Type, Version: untrusted.Line(s.Info.Version), Read: s.At.UTC().Truncate(time.Second),
		Expected: p.Of != nil && p.Of.Expected, Up: p.Up.String(), IKESAs: []jsonIKESAs{}, VendorStates: maps.Clone(p.Vendor),
		PacketsIn: p.In.Packets.Pointer(), PacketsOut: p.Out.Packets.Pointer(), BytesIn: p.In.Bytes.Pointer(), BytesOut: p.Out.Bytes.Pointer(),
		PacketsLost: p.Lost.Pointer(), PathMTUBytes: p.PathMTU,
	}
	for _, c := range ikeClasses(p) {
		out.IKESAs = append(out.IKESAs, jsonIKESAs{c.Version, c.State.String(), p.IKE[c]})
	}
	for state, n := range p.Children {
		if out.ChildSAs == nil {
			out.ChildSAs = make(map[string]int)
		}
		out.ChildSAs[state.String()] = n
	}
	if !p.Established.IsZero() {
		at := p.Established.UTC().Truncate(time.Second)
		out.Established = &at
	}
	switch p.NATT {
	case gateways.Yes:
		out.Encapsulation = "udp"
	case gateways.No:
		out.Encapsulation = "none"
	case gateways.Unknown:
	}
	return out
}

// seconds is null for no duration.
func seconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}
