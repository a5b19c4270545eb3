package dashboards

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// everything is what Grafana puts in place of the variables when All is chosen; one is the peer
// that the boards about one peer show.
func everything(one string) map[string]string {
	return map[string]string{"job": "(ipsec)", "isp": ".*", "site": ".*", "gateway": ".*", "peer": ".*", "instance": ".*", "one": one, "oneInstance": "exporter1:10500"}
}

// expand puts values in place of the variables, as Grafana does. Where a variable has to have one
// value, the query compares for equality.
func expand(expr string, vars map[string]string) string {
	expr = strings.ReplaceAll(expr, `peer="$peer"`, `peer="`+vars["one"]+`"`)
	expr = strings.ReplaceAll(expr, `instance="$instance"`, `instance="`+vars["oneInstance"]+`"`)
	expr = strings.NewReplacer("$__rate_interval", "4m", "$__range", "1h", "$__interval", "1m").Replace(expr)
	return regexp.MustCompile(`\$(\w+)`).ReplaceAllStringFunc(expr, func(v string) string { return vars[v[1:]] })
}

// answer asks for what a panel shows.
func (s server) answer(tb testing.TB, q target, vars map[string]string, from, to int64) []result {
	tb.Helper()
	if q.Instant {
		return s.now(tb, expand(q.Expr, vars), to)
	}
	return s.over(tb, expand(q.Expr, vars), from, to, step)
}

// lastMinute is a time that is in the past, and a multiple of the step.
func lastMinute() int64 { return time.Now().Unix()/step*step - step }

var labelInLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legendOf gives a series the name that Grafana would.
func legendOf(legend string, r result) string {
	return labelInLegend.ReplaceAllStringFunc(legend, func(m string) string { return r.Metric[labelInLegend.FindStringSubmatch(m)[1]] })
}

// unanswered is what is wrong with what a query of a panel brings.
func unanswered(p panel, q target, results []result) []string {
	var found []string
	say := func(format string, args ...any) {
		found = append(found, fmt.Sprintf("%s, query %s: %s\n\t%s", p.Title, q.RefID, fmt.Sprintf(format, args...), q.Expr))
	}
	if len(results) == 0 {
		say("brings nothing")
		return found
	}
	seen := make(map[string]int)
	for _, r := range results {
		if len(r.numbers()) == 0 && r.Histogram == nil && len(r.Histograms) == 0 {
			say("brings no number: %v", r.Metric)
		}
		seen[legendOf(q.LegendFormat, r)]++
	}
	has := func(label string) bool {
		return slices.ContainsFunc(results, func(r result) bool { return r.Metric[label] != "" })
	}
	for _, m := range labelInLegend.FindAllStringSubmatch(q.LegendFormat, -1) {
		if !has(m[1]) {
			say("no series has the label %s of the legend", m[1])
		}
	}
	if q.Format != "table" {
		for name, n := range seen {
			if n > 1 {
				say("%d series have the name %q", n, name)
			}
		}
	}
	return found
}

// wrongColumns compares a table's columns with the labels that its queries bring.
func wrongColumns(p panel, results []result) []string {
	var found []string
	labels := make(map[string]bool)
	for _, r := range results {
		for l := range r.Metric {
			labels[l] = true
		}
	}
	columns := p.columns()
	for _, c := range columns {
		if !strings.HasPrefix(c, "Value") && !labels[c] {
			found = append(found, p.Title+": nothing fills the column "+c)
		}
	}
	for _, l := range slices.Sorted(maps.Keys(labels)) {
		if !slices.Contains(columns, l) {
			found = append(found, p.Title+": there is no column for the label "+l)
		}
	}
	if n := len(p.Targets); n > 1 && !slices.Contains(columns, fmt.Sprintf("Value #%c", 'A'+n-1)) || n == 1 && !slices.Contains(columns, "Value") {
		found = append(found, p.Title+": a query without a column for its value")
	}
	return found
}

// TestEveryQueryBringsWhatItsPanelShows asks a real Prometheus every query of every panel, and
// looks at the series: there are some, with numbers, with the labels that legends and tables use,
// and no two with the same name, although two exporters measure the same peers.
func TestEveryQueryBringsWhatItsPanelShows(t *testing.T) {
	w := newWorld(t, somePeers(), lastMinute())
	s, vars := serve(t, w), everything("branch")
	n := 0
	for _, b := range load(t) {
		for _, p := range b.all() {
			var rows []result
			for _, q := range p.Targets {
				n++
				results := s.answer(t, q, vars, w.begins, w.ends)
				rows = append(rows, results...)
				for _, problem := range unanswered(p, q, results) {
					t.Errorf("%s: %s", b.UID, problem)
				}
			}
			if p.Type == "table" {
				for _, problem := range wrongColumns(p, rows) {
					t.Errorf("%s: %s", b.UID, problem)
				}
			}
		}
		for _, a := range b.Annotations.List {
			if results := s.over(t, expand(a.Expr, vars), w.begins, w.ends, step); len(results) == 0 {
				t.Errorf("%s: annotation %s marks nothing", b.UID, a.Name)
			} else {
				for _, m := range labelInLegend.FindAllStringSubmatch(a.Title+a.Text, -1) {
					if !slices.ContainsFunc(results, func(r result) bool { return r.Metric[m[1]] != "" }) {
						t.Errorf("%s: annotation %s: no series has the label %s", b.UID, a.Name, m[1])
					}
				}
			}
		}
	}
	t.Logf("%d queries", n)
	t.Run("state codes", func(t *testing.T) { stateCodes(t, s, w) })
	t.Run("can fail", func(t *testing.T) { answersCanFail(t, s, w) })
}

// stateCodes: the numbers of a set of states, and the words that the panel has for them, have to
// mean the same.
func stateCodes(t *testing.T, s server, w *world) {
	t.Helper()
	for _, b := range load(t) {
		for _, p := range b.all() {
			if p.Title != "State of the path MTU" {
				continue
			}
			for _, r := range s.answer(t, p.Targets[0], everything("branch"), w.begins, w.ends) {
				// As in value of the world, and in the order of mtuStates.
				want := map[string]float64{"icmp": 4, "ike": 5, "natt": 2}[r.Metric["method"]]
				if got := r.numbers(); got[0] != want {
					t.Errorf("%s: %s has the code %g, not %g", b.UID, r.Metric["method"], got[0], want)
				}
			}
		}
	}
}

// answersCanFail asks queries with a mistake each.
func answersCanFail(t *testing.T, s server, w *world) {
	t.Helper()
	for name, q := range map[string]target{
		"no such metric":       {Expr: "ipsec_path_mtu_kilobytes", LegendFormat: "a"},
		"no such label":        {Expr: "max by (method) (ipsec_path_mtu_bytes)", LegendFormat: "{{colour}}"},
		"label lost":           {Expr: "sum(ipsec_path_mtu_bytes)", LegendFormat: "{{method}}"},
		"no number":            {Expr: "0 * ipsec_path_mtu_bytes / 0", LegendFormat: "{{method}} {{peer}} {{instance}}"},
		"two of the same name": {Expr: `ipsec_path_mtu_bytes{peer="branch"}`, LegendFormat: "{{method}}"},
	} {
		if len(unanswered(panel{Title: "planted"}, q, s.answer(t, q, nil, w.begins, w.ends))) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
	q := target{Expr: "max by (peer, method) (ipsec_path_mtu_bytes)", Instant: true, Format: "table"}
	if len(wrongColumns(panel{Targets: []target{q}}, s.answer(t, q, nil, w.begins, w.ends))) == 0 {
		t.Error("a table without columns: nothing was found")
	}
}

// TestBoardsShowTheChosenPeerOnly chooses one peer, of which another exporter knows too, by the
// name as Grafana would escape it.
func TestBoardsShowTheChosenPeerOnly(t *testing.T) {
	w := newWorld(t, somePeers(), lastMinute())
	s, vars := serve(t, w), everything("198.51.100.7")
	vars["peer"] = `198\\.51\\.100\\.7`
	for _, b := range load(t) {
		shown := 0
		for _, p := range b.all() {
			for _, q := range p.Targets {
				for _, r := range s.answer(t, q, vars, w.begins, w.ends) {
					if at := r.Metric["peer"]; at != "" && at != "198.51.100.7" {
						t.Errorf("%s: %s shows %s: %s", b.UID, p.Title, at, q.Expr)
					}
					one := b.UID == "ipsec-path-peer" || b.UID == "ipsec-path-evidence"
					if at := r.Metric["instance"]; one && at != "" && at != "exporter1:10500" {
						t.Errorf("%s: %s shows what %s sees: %s", b.UID, p.Title, at, q.Expr)
					}
					shown++
				}
			}
		}
		if shown == 0 {
			t.Errorf("%s shows nothing", b.UID)
		}
	}
}

// TestChosenPeersAreNotRecorded: queries of all peers over time read what rules record, those of
// chosen peers or sites do not.
func TestChosenPeersAreNotRecorded(t *testing.T) {
	w := newWorld(t, somePeers(), lastMinute())
	s := serve(t, w)
	for _, tt := range []struct{ variable, value string }{{"", ""}, {"peer", "(hq|branch)"}, {"peer", "hq"}, {"site", "lima"}} {
		vars := everything("branch")
		vars[tt.variable] = tt.value
		n := 0
		for _, b := range load(t) {
			for _, p := range b.all() {
				for _, q := range p.Targets {
					recorded, raw := halves(q.Expr)
					if raw == "" {
						continue
					}
					n++
					ofAll, ofChosen := s.over(t, expand(recorded, vars), w.begins, w.ends, step), s.over(t, expand(raw, vars), w.begins, w.ends, step)
					if chosen := tt.value != ""; (len(ofAll) > 0) == chosen || (len(ofChosen) > 0) != chosen {
						t.Errorf("%s=%q: %s: %d recorded series, %d of peers", tt.variable, tt.value, p.Title, len(ofAll), len(ofChosen))
					}
				}
			}
		}
		if n < 6 {
			t.Errorf("only %d queries read recorded series", n)
		}
	}
}

// halves splits a query of all peers into what it reads of all and of chosen peers; the second half of
// other queries is empty.
func halves(expr string) (ofAll, ofChosen string) {
	if !strings.Contains(expr, `^.*"`) {
		return expr, ""
	}
	at := regexp.MustCompile(` or \(*(histogram_quantile\([\d.]+, )?(sum|count) ?(by \([\w, ]+\) )?\((rate\(|changes\(|ipsec_path_)`).FindStringIndex(expr)
	if at == nil {
		return expr, ""
	}
	return expr[:at[0]], expr[at[0]+len(" or "):]
}

// saysUnknown reports whether an answer is only the row that says that nothing is known.
func saysUnknown(results []result) bool {
	return len(results) == 1 && results[0].Metric["instance"] != "exporter1:10500" && slices.Equal(results[0].numbers(), []float64{-2})
}

// TestDeadExporterHasNoVerdict: when nothing has been measured for long, no panel may say that all
// is well, or that anything is 0.
func TestDeadExporterHasNoVerdict(t *testing.T) {
	w := newWorld(t, somePeers(), lastMinute()-3600)
	s, vars := serve(t, w), everything("branch")
	for _, b := range load(t) {
		for _, p := range b.all() {
			for _, q := range p.Targets {
				// Counts over the range describe the range.
				if !q.Instant || strings.Contains(q.Expr, "$__range") {
					continue
				}
				if results := s.now(t, expand(q.Expr, vars), w.ends+3000); len(results) > 0 && !saysUnknown(results) {
					t.Errorf("%s: %s still shows %v: %s", b.UID, p.Title, results[0], q.Expr)
				}
			}
		}
	}
}

// TestBoardsHoldManyPeers: a panel that draws a series for each of ten thousand peers is of no use,
// and slow.
func TestBoardsHoldManyPeers(t *testing.T) {
	const most = 101 // rows of the longest table, and one
	var peers []peer
	for i := range 130 {
		peers = append(peers, peer{fmt.Sprintf("branch-%03d", i), map[string]string{"isp": fmt.Sprintf("isp-%d", i%30), "site": fmt.Sprintf("site-%d", i)}, true})
	}
	w := newWorld(t, peers, lastMinute())
	w.begins = w.ends - 600
	s, vars := serve(t, w), everything("branch-001")
	largest := 0
	for _, b := range load(t) {
		for _, p := range b.all() {
			for _, q := range p.Targets {
				n := len(s.answer(t, q, vars, w.begins, w.ends))
				if largest = max(largest, n); n > most {
					t.Errorf("%s: %s brings %d series: %s", b.UID, p.Title, n, q.Expr)
				}
			}
		}
	}
	if all := len(s.now(t, "ipsec_path_diagnosis", w.ends)); all <= 10*most || largest < 20 {
		t.Errorf("the test is too small to show it: %d diagnoses, the largest answer has %d", all, largest)
	}
}
