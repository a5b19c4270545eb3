// Package report writes what one measurement of one peer found, for people and for programs: as
// text for a terminal, as Markdown for a ticket at the provider, as HTML to read and to print, as
// JSON.
//
//	              aspects ──▶ entries: lines, table of probes, unknowns, comparison ─┐
//	Report ──▶ document                                                          page ──▶ text
//	              texts/  ──▶ advice by diagnosis, sections, gateways ───────────────┘  ├▶ Markdown
//	                                                                                    └▶ HTML
//
// A page is the document that people read: chapters of paragraphs, lists, code and tables. The
// three forms show the same page and decide nothing.
//
// A Report holds the results of the collectors as they are. aspects lists what is said about each
// kind of result; texts holds the advice and the sections as templates that can be edited without
// Go. The JSON form is an interface (json.go): names are added, never changed or removed.
//
// The package neither measures, nor draws diagnoses, nor reads a clock.
package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/tunnelmtu"
)

// A Report is what one measurement of one peer found, via one interface or source address.
type Report struct {
	Peer   string
	Labels map[string]string
	// Host is the configured address or name, Address the measured one, not valid if unresolved.
	Host    string
	Address netip.Addr
	// Addresses are the other addresses of the name.
	Addresses []Address
	// Via is the configured interface or source address, empty where routing chose.
	Via string
	// Source is the address that packets were sent from, Interface their device, if known.
	Source    netip.Addr
	Interface string
	// Ways are how the methods leave this host, that of IKE first, if they leave by different ways.
	Ways    []Way
	Started time.Time
	Took    time.Duration
	// Healthy means that no fault was found, Measured that enough is known to say so.
	Healthy, Measured bool
	Diagnoses         []diagnosis.Held
	// Findings are the results of the collectors that are enabled for the peer.
	suite.Findings
	// Tunnel is what an ESP tunnel over the path should be set to, nil if that is unknown.
	Tunnel *tunnelmtu.Settings
	// Gateways are readings of SA tables, each with this peer as the only one.
	Gateways []gateways.Snapshot
	// GatewayTypes are the kinds of the gateways at which the peer is expected, each once, also
	// where one cannot be read.
	GatewayTypes []string
	// Baseline compares the path with the one that was last healthy, in one sentence.
	Baseline string
	// Changes are earlier changes of diagnoses, the newest last.
	Changes []history.Change
	// Errors are what could not be measured, and why.
	Errors []string
}

// A Line is one result in the summary.
type Line struct{ Label, Text string }

// Lines returns the summary of all results.
func (r *Report) Lines() (lines []Line) {
	for _, e := range r.entries() {
		if e.label != "" {
			lines = append(lines, Line{e.label, e.text})
		}
	}
	for _, e := range r.Errors {
		lines = append(lines, Line{"not measured", e})
	}
	return lines
}

// Hops returns the routers on the path by their distance, as the collector that asked with more
// kinds of packets saw them. The zero Addr is a router that did not answer.
func (r *Report) Hops() (hops []netip.Addr) {
	if r.PMTU != nil {
		hops = r.PMTU.Hops
	}
	if r.Protocols != nil && len(r.Protocols.Hops) >= len(hops) {
		hops = r.Protocols.Hops
	}
	return hops
}

// Where is the address that is measured, or the name without one.
func (r *Report) Where() string { return cmp.Or(address(r.Address), r.Host+" (not resolved)") }

// Newest returns the changes, the newest first.
func (r *Report) Newest() []history.Change {
	all := slices.Clone(r.Changes)
	slices.Reverse(all)
	return all
}

// Route is Hops for people, empty if no routers are known.
func (r *Report) Route() string {
	hops := r.Hops()
	all := make([]string, len(hops))
	for i, a := range hops {
		all[i] = fmt.Sprintf("%d %s", i+1, cmp.Or(address(a), "no answer"))
	}
	return strings.Join(all, ", ")
}

// Past returns the changes as sentences, the oldest first.
func (r *Report) Past() []string {
	out := make([]string, len(r.Changes))
	for i, c := range r.Changes {
		out[i] = fmt.Sprintf("%s: %s %s. %s", diagnosis.Clock(c.At), c.Diagnosis, Turned(c.On), c.Summary)
	}
	return out
}

// Turned names a change of a diagnosis.
func Turned(on bool) string {
	if on {
		return "raised"
	}
	return "cleared"
}

// searches are the results of the path MTU searches.
func (r *Report) searches() []pmtu.Result { return cmp.Or(r.PMTU, &pmtu.Snapshot{}).Results }

// search is the result of one method if it found the path MTU, else nil.
func (r *Report) search(m collectors.Method) *pmtu.Result {
	all := r.searches()
	i := slices.IndexFunc(all, func(s pmtu.Result) bool { return s.Method == m && tunnelmtu.Conclusive(&s) })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// hole is the black hole on the path to the peer, the smallest if several IKE methods show one.
// That of echoes counts where no IKE method shows one, and nothing shows that only replies vanish.
func (r *Report) hole() (hole *pmtu.Result) {
	for _, m := range collectors.IKEMethods() {
		if s := r.search(m); s != nil && s.State == search.BlackHole && (hole == nil || s.Bytes < hole.Bytes) {
			hole = s
		}
	}
	if s := r.search(collectors.ICMP); hole == nil && s != nil && s.State == search.BlackHole && !r.ikePasses(s.Bytes) && r.PMTU.Direction() != pmtu.FromPeer {
		hole = s
	}
	return hole
}

// ikePasses reports whether larger IKE messages arrive.
func (r *Report) ikePasses(bytes int) bool {
	return slices.ContainsFunc(collectors.IKEMethods(), func(m collectors.Method) bool {
		s := r.search(m)
		return s != nil && s.Bytes > bytes
	})
}

// echoHole is a black hole of echoes that is none of the path to the peer: larger IKE messages
// arrive, or only replies vanish; nil without one.
func (r *Report) echoHole() *pmtu.Result {
	s := r.search(collectors.ICMP)
	if s == nil || s.State != search.BlackHole || r.hole() != nil {
		return nil
	}
	return s
}

// Port is the UDP port of an IKE method: that of its newest result, or the usual one.
func (r *Report) Port(m collectors.Method) uint16 {
	if r.IKE != nil {
		if one := r.IKE.Of(m); one.Port != 0 {
			return one.Port
		}
	}
	if m == collectors.NATT {
		return 4500
	}
	return 500
}

// V6 reports whether the path is IPv6.
func (r *Report) V6() bool { return r.Address.Is6() && !r.Address.Is4In6() }

// name is the peer with its address and the way to it.
func (r *Report) name() string {
	name := r.Peer
	if a := address(r.Address); a != "" && a != r.Peer {
		name += " (" + a + ")"
	}
	if r.Via != "" {
		name += " via " + r.Via
	}
	return name
}

// Fails reports whether a diagnosis of this severity or a worse one holds.
func (r *Report) Fails(least diagnosis.Severity) bool {
	return slices.ContainsFunc(r.Diagnoses, func(h diagnosis.Held) bool { return h.Severity.AtLeast(least) })
}

// Doubtful reports whether the newest facts confirm none of the faults that were found.
func (r *Report) Doubtful() bool {
	return r.Fails(diagnosis.Warning) && !slices.ContainsFunc(r.Diagnoses, func(h diagnosis.Held) bool {
		return !h.Unconfirmed && h.Severity.AtLeast(diagnosis.Warning)
	})
}

// result is the outcome in a few words, the diagnosis that matters most first. What could not be
// confirmed is no fault of now.
func (r *Report) result() string {
	ordered := slices.Clone(r.Diagnoses)
	slices.SortStableFunc(ordered, func(a, b diagnosis.Held) int { return byWeight(&a, &b) })
	names := make([]string, 0, len(ordered))
	for i := range ordered {
		names = append(names, ordered[i].Name)
	}
	all := strings.Join(names, ", ")
	switch {
	case r.Doubtful():
		return "unknown now, last found: " + all
	case r.Fails(diagnosis.Warning):
		return "FAULT " + all
	case len(names) > 0:
		return "no fault found, for information: " + all
	case r.Healthy && len(r.Errors) > 0:
		return "no fault found, but not everything could be measured"
	case r.Healthy:
		return "no fault found"
	}
	return "unknown"
}

// address is empty for the zero Addr.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
