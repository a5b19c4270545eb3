package exporter

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/version"

	"ipsec_path_exporter/exporter/evidence"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/web"
)

// dossiers answers for the pages of peers.
type dossiers struct{ *app }

// shownExchanges is how many probes a page shows.
const shownExchanges = 200

// find returns the running peer of a name.
func (a *app) find(name string) (*peer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.peers[name]
	return p, ok
}

// Known implements web.Dossiers.
func (d dossiers) Known(name string) bool {
	_, ok := d.find(name)
	return ok
}

// Detail implements web.Dossiers.
func (d dossiers) Detail(name string) (web.Detail, bool) {
	p, ok := d.find(name)
	if !ok {
		return web.Detail{}, false
	}
	now := time.Now()
	r := p.report(now)
	out := web.Detail{Peer: p.status(now), Before: r.Before()}
	for _, label := range slices.Sorted(maps.Keys(p.cfg.Labels)) {
		if out.Labels != "" {
			out.Labels += ", "
		}
		out.Labels += label + " " + p.cfg.Labels[label]
	}
	for _, l := range r.Lines() {
		out.Results = append(out.Results, web.Line{Label: l[0], Text: l[1]})
	}
	for _, h := range r.Hops {
		out.Hops = append(out.Hops, h.Text())
	}
	for _, c := range slices.Backward(d.history.Changes(name)) {
		out.Changes = append(out.Changes, web.Change{At: c.At, On: c.On, Diagnosis: c.Diagnosis, Summary: c.Summary})
	}
	exchanges := p.ring.Exchanges()
	for i := len(exchanges) - 1; i >= max(0, len(exchanges)-shownExchanges); i-- {
		e := &exchanges[i]
		out.Exchanges = append(out.Exchanges, web.Exchange{At: e.Sent, What: e.What(), Result: e.Result(), Fault: e.Fault()})
	}
	return out, true
}

// Report implements web.Dossiers.
func (d dossiers) Report(w io.Writer, name, form string) error {
	write := writers()[form]
	if write == nil {
		return web.ErrForm
	}
	p, ok := d.find(name)
	if !ok {
		return nil // it was removed just now
	}
	r := p.report(time.Now())
	report.Conclude([]*report.Report{r})
	return write(w, []*report.Report{r})
}

// Pcap implements web.Dossiers.
func (d dossiers) Pcap(w io.Writer, name string) error {
	return evidence.WritePcapng(w, d.exchanges(name), application())
}

// Exchanges implements web.Dossiers.
func (d dossiers) Exchanges(w io.Writer, name string) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d.exchanges(name))
}

func (d dossiers) exchanges(name string) []evidence.Exchange {
	if p, ok := d.find(name); ok {
		return p.ring.Exchanges()
	}
	return nil
}

// application names this program in files that it writes.
func application() string { return "ipsec_path_exporter " + version.Version }

// report is what is known about the peer now.
func (p *peer) report(now time.Time) *report.Report {
	t, f := p.current(), p.findings(now)
	r := &report.Report{Peer: p.cfg.Name, Via: source(&p.cfg), Diagnoses: []report.Diagnosis{}}
	if t.Path.Dst.IsValid() {
		r.Address, r.Family = t.Path.Dst.String(), family(t)
		if route, err := p.app.stack.Route(t.Path); err == nil && route.Src.IsValid() {
			r.Source, r.Interface = route.Src.String(), route.Interface
		}
	}
	r.Started = f.since(now).UTC().Truncate(time.Second)
	r.Seconds = now.Sub(r.Started).Seconds()
	p.describe(r, t, f, &p.verdict.tracker, now)
	p.mu.Lock()
	if p.failure != "" {
		r.Errors = append(r.Errors, p.failure)
	}
	p.mu.Unlock()
	r.History = p.past(f)
	return r
}

// since is when the oldest of the newest results was measured.
func (f *findings) since(now time.Time) time.Time {
	oldest := now
	for _, at := range []time.Time{f.icmp.At, f.ike.IKE.At, f.ike.NATT.At, f.pmtu.At, f.fragments.At, f.protocols.At} {
		if !at.IsZero() && at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// past is what is remembered of the peer.
func (p *peer) past(f *findings) *report.History {
	h := &report.History{}
	if b, ok := p.app.history.Baseline(p.cfg.Name); ok {
		if s := b.Compare(baseline(f)); s != "" {
			h.Baseline = append(h.Baseline, s)
		}
	}
	for _, c := range p.app.history.Changes(p.cfg.Name) {
		verb := "ended"
		if c.On {
			verb = "began"
		}
		h.Changes = append(h.Changes, fmt.Sprintf("%s: %s %s. %s", c.At.UTC().Format(time.RFC3339), c.Diagnosis, verb, c.Summary))
	}
	if len(h.Baseline)+len(h.Changes) == 0 {
		return nil
	}
	return h
}

// baseline is what the path is like now.
func baseline(f *findings) evidence.Baseline {
	b := evidence.Baseline{At: f.pmtu.At, Bytes: make(map[string]int), Hops: f.pmtu.Hops, RoundTrip: f.icmp.Avg}
	for i := range f.pmtu.Results {
		if r := &f.pmtu.Results[i]; r.Bytes > 0 {
			b.Bytes[r.Method.String()] = r.Bytes
		}
	}
	return b
}
