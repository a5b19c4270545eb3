package dashboards

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// A planted fault is a change of a board that makes one of its panels unreadable.
type planted struct {
	board string
	// old is replaced wherever it is, or once behind the text after.
	after, old, to string
	// panel and fault are what is found.
	panel, fault string
	// late is set if it shows only when the exporter is long gone.
	late bool
}

// plantedFaults plants a fault at a time and expects the checker to name it.
func plantedFaults(t *testing.T, s server, at int64) {
	t.Helper()
	moments, faults := make(map[bool][][]byte), make(map[string]planted)
	for name, p := range map[string]planted{
		"a date unit for all columns": {
			board: "fleet", after: `Peers with a fault ($rows)`, old: `"unit": "none"`, to: `"unit": "dateTimeFromNow"`, panel: "Peers with a fault", fault: "broken text",
		},
		"names as dates": {
			board: "exporter", after: `"title": "Exporters"`, old: `"unit": "none"`, to: `"unit": "dateTimeAsIso"`, panel: "Exporters", fault: "text changed",
		},
		"spans coloured by thresholds": {board: "peer", old: `"mode": "fixed"`, to: `"mode": "thresholds"`, panel: "State of the path MTU", fault: "no words"},
		"ranges of thresholds":         {board: "peer", old: `"mode": "fixed"`, to: `"mode": "thresholds"`, panel: "Answers", fault: "broken text"},
		"a state without words":        {board: "peer", old: `"BLACK HOLE"`, to: `null`, panel: "State of the path MTU", fault: "no words"},
		"unknown in green":             {board: "fleet", old: `"match": "null+nan"`, to: `"match": "true"`, panel: "Exporters not scraped", fault: "unknown is not grey", late: true},
		"a single bar without a name":  {board: "fleet", old: `"displayName": "${__series.name}"`, to: `"displayName": ""`, panel: "Path MTUs in the fleet", fault: "no name"},
		"an empty timeline":            {board: "peer", old: ` or on () label_replace(vector(-2)`, to: ` and on () label_replace(vector(-2)`, panel: "Diagnoses", fault: "nothing says nothing", late: true},
		"headers without rows":         {board: "fleet", old: ` or on () label_replace(vector(-2)`, to: ` and on () label_replace(vector(-2)`, panel: "Peers with a fault", fault: "nothing says nothing", late: true},
		"no text for nothing":          {board: "peer", old: `"noValue": "not answered"`, to: `"noValue": ""`, panel: "Round-trip time of IKE", fault: "nothing says nothing", late: true},
		"an empty legend":              {board: "peer", old: `"legendFormat": "{{method}}"`, to: `"legendFormat": ""`, panel: "State of the path MTU", fault: "no name"},
		"a value without a header":     {board: "evidence", old: `"Value #C": "answers IKE"`, to: `"Value #X": "answers IKE"`, panel: "Sizes that pass now", fault: "no name"},
		"a link by a text":             {board: "fleet", old: "${__value.raw}", to: "${__data.fields.diagnosis}", panel: "Peers with a fault", fault: "broken link"},
		"a link without its peer":      {board: "fleet", old: "var-peer=${__data.fields.peer", to: "var-peer=${__data.fields.peers", panel: "Peers with a fault", fault: "broken link"},
		"a tooltip of no column":       {board: "tunnels", old: `"field": "meaning"`, to: `"field": "purpose"`, panel: "Tunnels that are down", fault: "no tooltip"},
		"jargon":                       {board: "fleet", old: `"unit": "suffix:B"`, to: `"unit": "short"`, panel: "Smallest path MTU", fault: "odd unit"},
	} {
		// The board is known by the name of the fault.
		board := bytes.ReplaceAll(p.plant(t, name), []byte(`"uid": "ipsec-path-`+p.board+`"`), []byte(`"uid": "`+name+`"`))
		moments[p.late] = append(moments[p.late], board)
		faults[name] = p
	}
	found := make(map[string]bool)
	for late, boards := range moments {
		when := at
		if late {
			when += longGone
		}
		for _, shown := range s.render(t, everything("branch"), when, boards...) {
			for _, f := range shown.Faults {
				if p := faults[shown.Board]; strings.HasPrefix(shown.Panel, p.panel) && f.Fault == p.fault {
					found[shown.Board] = true
				}
			}
		}
	}
	for name, p := range faults {
		if !found[name] {
			t.Errorf("%s: %s: %q was not found", name, p.panel, p.fault)
		}
	}
}

// plant returns the board with the fault.
func (p planted) plant(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(p.board + ".json")
	if err != nil {
		t.Fatal(err)
	}
	at, n := max(bytes.Index(text, []byte(p.after)), 0), 1
	if p.after == "" {
		n = -1
	}
	before, rest := text[:at], text[at:]
	if !bytes.Contains(rest, []byte(p.old)) {
		t.Fatalf("%s: there is no %s behind %q to change", name, p.old, p.after)
	}
	return append(bytes.Clone(before), bytes.Replace(rest, []byte(p.old), []byte(p.to), n)...)
}
