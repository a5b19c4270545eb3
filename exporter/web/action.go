package web

import (
	"cmp"
	"fmt"
	"strings"
	"text/template"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
)

// actions say what to do now, in the words and with the numbers of the report. They are no HTML.
var actions = template.Must(template.New("").Option("missingkey=error").ParseFS(files, "texts/actions.tmpl"))

// act returns what to do about a diagnosis, or about a peer that is healthy or unknown: the first
// item first. A diagnosis without a text is an error, as in the report.
func act(r *report.Report, name, gateway string) ([]string, error) {
	var b strings.Builder
	err := actions.ExecuteTemplate(&b, name, struct {
		R                 any
		Provider, Gateway string
	}{r.Data(), cmp.Or(provider(r), "the provider"), gateway})
	if err != nil {
		return nil, fmt.Errorf("action for %s: %w", name, err)
	}
	var items []string
	for line := range strings.Lines(b.String()) {
		if item, ok := strings.CutPrefix(line, "- "); ok {
			items = append(items, strings.TrimSpace(item))
		}
	}
	return items, nil
}

// A verdict is one diagnosis with what to do about it.
type verdict struct {
	diagnosis.Held
	Actions []string
}

// verdicts returns the diagnoses of a report, the one to start with first. A text that cannot be
// rendered costs the actions of its diagnosis, not the page.
func (s *site) verdicts(r *report.Report) (out []verdict) {
	for _, h := range worstFirst(r.Diagnoses) {
		out = append(out, verdict{h, s.actions(r, h.Name, h.Gateway)})
	}
	return out
}

// actions is act with the error in the log.
func (s *site) actions(r *report.Report, name, gateway string) []string {
	items, err := act(r, name, gateway)
	if err != nil {
		s.Log.Error("action not rendered", "peer", r.Peer, "err", err)
	}
	return items
}
