package web

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/untrusted"
)

// A peerPage is the page of one peer.
type peerPage struct {
	*report.Report
	Now      time.Time
	Refresh  int
	Level    level
	Provider string
	Verdicts []verdict
	// Actions are what to do about a peer without a diagnosis.
	Actions []string
	// Builds is the path MTU for which the gateways build packets if these pass, 0 otherwise.
	Builds   int
	Drawing  *drawing
	Ladders  []ladder
	Strips   []strip
	Day      [2]time.Time
	Events   []event
	Tables   []saTable
	Evidence []group
	// Runbooks ends before the name of a diagnosis. Board is the URL of the peer's board, empty
	// where no Grafana is configured.
	Runbooks, Board string
}

// Measurements are how old the results are.
func (p *peerPage) Measurements() []measurement { return measurements(p.Report) }

// peer serves the page of a peer.
func (s *site) peer(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	found, ok := s.Peers.Report(name)
	if !ok {
		notFound(w)
		return
	}
	p := s.newPeerPage(name, found)
	p.Refresh = refresh(r)
	s.page(w, r, "peer.html", p)
}

func (s *site) newPeerPage(name string, r *report.Report) *peerPage {
	now := s.now()
	kept, _ := s.Peers.Exchanges(name)
	day, _ := s.Peers.Day(name)
	p := &peerPage{
		Report: r, Now: now, Level: levelOf(r), Provider: provider(r), Builds: builds(r), Verdicts: s.verdicts(r),
		Drawing: draw(newPath(r)), Ladders: ladders(r, kept), Evidence: evidence(r, kept),
		Strips: strips(&day, now), Day: [2]time.Time{quarterStart(0, now), now},
		Events: events(r, now), Tables: saTables(r), Runbooks: s.Runbooks,
	}
	if s.Grafana != "" {
		p.Board = strings.TrimSuffix(s.Grafana, "/") + "/d/" + peerBoard + "?var-peer=" + url.QueryEscape(r.Peer)
	}
	if len(p.Verdicts) == 0 {
		p.Actions = s.actions(r, string(p.Level), "")
	}
	return p
}

// peerBoard is the identifier of the board about one peer.
const peerBoard = "ipsec-path-peer"

// builds returns the largest path MTU for which gateways build packets, 0 if one builds packets
// that do not pass, or none is known: then the alert on a black hole is a warning.
func builds(r *report.Report) (largest int) {
	for i := range r.Gateways {
		largest = max(largest, r.Gateways[i].Peers[0].PathMTU)
	}
	oversized := slices.ContainsFunc(r.Diagnoses, func(h diagnosis.Held) bool { return h.Name == diagnosis.TunnelOversized })
	if oversized || r.PMTU == nil || largest > tunnelmtu.PathMTU(r.PMTU.Results) {
		return 0
	}
	return largest
}

// An event is one change in the timeline.
type event struct {
	history.Change
	Level level
	// Lasted is how long a diagnosis held that was cleared, or has held since, 0 if unknown.
	Lasted time.Duration
	// Open means that it holds.
	Open bool
}

// events pairs changes, the newest first, with how long each diagnosis held.
func events(r *report.Report, now time.Time) []event {
	out := make([]event, 0, len(r.Changes))
	cleared := make(map[string]time.Time)
	for _, c := range r.Newest() {
		e := event{Change: c, Level: level(cmp.Or(diagnosis.SeverityOf(c.Diagnosis), diagnosis.Info))}
		end, ended := cleared[c.Diagnosis]
		switch {
		case !c.On:
			cleared[c.Diagnosis] = c.At
		case ended:
			e.Lasted = end.Sub(c.At)
			delete(cleared, c.Diagnosis)
		case slices.ContainsFunc(r.Diagnoses, func(h diagnosis.Held) bool { return h.Name == c.Diagnosis }):
			e.Lasted, e.Open = now.Sub(c.At), true
		}
		out = append(out, e)
	}
	return out
}

// An saTable is what a gateway shows about the peer.
type saTable struct {
	Gateway string
	At      time.Time
	Rows    []report.Line
	Level   level
}

// saTables are the SA tables of all gateways that show the peer.
func saTables(r *report.Report) (out []saTable) {
	for i := range r.Gateways {
		s := &r.Gateways[i]
		p := &s.Peers[0]
		t := saTable{Gateway: untrusted.Line(s.Gateway), At: s.At, Level: unknown}
		add := func(label, text string) {
			if text != "" {
				t.Rows = append(t.Rows, report.Line{Label: label, Text: text})
			}
		}
		state := "unknown"
		switch p.Up {
		case gateways.Yes:
			state, t.Level = "up", healthy
		case gateways.No:
			state = "down"
			if p.Of != nil && p.Of.Expected && !p.Of.OnDemand { // a tunnel on demand may rest
				t.Level = level(diagnosis.Critical)
			}
		case gateways.Unknown:
		}
		add("Tunnel", state)
		add("IKE SAs", ikeClasses(p))
		add("Vendor states", counted(p.Vendor))
		children := make(map[string]int)
		for c, n := range p.Children {
			children[c.String()] = n
		}
		add("Child SAs", cmp.Or(counted(children), "none"))
		add("Packets", traffic(p.In.Packets, p.Out.Packets))
		add("Bytes", traffic(p.In.Bytes, p.Out.Bytes))
		if p.PathMTU > 0 {
			add("Builds packets for", fmt.Sprintf("a path MTU of %d bytes", p.PathMTU))
		}
		switch p.NATT {
		case gateways.Yes:
			add("Encapsulation", "ESP in UDP")
		case gateways.No:
			add("Encapsulation", "ESP")
		case gateways.Unknown:
		}
		if !p.Established.IsZero() {
			add("Established", clock(p.Established))
		}
		out = append(out, t)
	}
	return out
}

// ikeClasses counts IKE SAs by version and state.
func ikeClasses(p *gateways.PeerSnapshot) string {
	all := make(map[string]int)
	for c, n := range p.IKE {
		name := c.State.String()
		if c.Version > 0 {
			name = fmt.Sprintf("IKEv%d %s", c.Version, name)
		}
		all[name] = n
	}
	return cmp.Or(counted(all), "none shown")
}

// counted is a list of names with their numbers.
func counted(all map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		part := untrusted.Line(name)
		if n := all[name]; n != 1 {
			part = fmt.Sprintf("%s ×%d", part, n)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// traffic is a pair of counters, empty if neither is known.
func traffic(in, out gateways.Count) string {
	one := func(c gateways.Count) string {
		if !c.Known {
			return "unknown"
		}
		return strconv.FormatUint(c.Value, 10)
	}
	if !in.Known && !out.Known {
		return ""
	}
	return one(in) + " in, " + one(out) + " out"
}
