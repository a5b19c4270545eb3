package dashboards

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// labelValues asks for the values of a label as Grafana does.
func (s server) labelValues(t *testing.T, label, match string, from, to int64) []string {
	t.Helper()
	form := url.Values{"match[]": {match}, "start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/label/"+label+"/values?"+form.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		Error string
		Data  []string
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Error != "" {
		t.Fatalf("%s: %v %s", match, err, body.Error)
	}
	return body.Data
}

// resultValues takes values out of the result of a query as Grafana does: it writes each series as
// metric{label="value"}.
func (s server) resultValues(t *testing.T, expr, pattern string, at int64) []string {
	t.Helper()
	find := regexp.MustCompile(strings.Trim(pattern, "/"))
	var all []string
	for _, r := range s.now(t, expr, at) {
		var labels []string
		for name, value := range r.Metric {
			labels = append(labels, name+`="`+value+`"`)
		}
		if m := find.FindStringSubmatch("{" + strings.Join(labels, ",") + "}"); m != nil {
			all = append(all, m[1])
		}
	}
	return all
}

// TestVariablesOfferWhatThereIs asks for the values of each variable, with all others at All, or at
// one peer.
func TestVariablesOfferWhatThereIs(t *testing.T) {
	w := newWorld(t, somePeers(), lastMinute())
	s, vars := serve(t, w), everything("branch")
	want := map[string][]string{
		"job": {"ipsec"}, "instance": {"exporter1:10500", "exporter2:10500"}, "isp": {"acme"}, "site": {"haiti", "lima"},
		"peer": {"198.51.100.7", "branch", "hq", "lone"}, "gateway": {"hub", "local"},
	}
	asks := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	// In the order of the result: the faulty peers first.
	const faulty = 2
	results := map[string][]string{"peer": {"198.51.100.7", "branch", "hq", "lone"}, "rows": {"4 of 4"}}
	for _, b := range load(t) {
		for _, v := range b.Templating.List {
			if v.Type != "query" {
				continue
			}
			var query struct{ Query string }
			if err := json.Unmarshal(v.Query, &query); err != nil || query.Query != v.Definition {
				t.Errorf("%s: %s asks %s and says %s: %v", b.UID, v.Name, v.Query, v.Definition, err)
				continue
			}
			if expr, ok := strings.CutPrefix(query.Query, "query_result("); ok {
				got := s.resultValues(t, expand(strings.TrimSuffix(expr, ")"), vars), v.Regex, w.ends)
				for n := range slices.Chunk(got, faulty) {
					slices.Sort(n) // the order of equally healthy peers is that of the answer
				}
				if !slices.Equal(got, results[v.Name]) {
					t.Errorf("%s: %s offers %v, not %v", b.UID, v.Name, got, results[v.Name])
				}
				continue
			}
			m := asks.FindStringSubmatch(query.Query)
			if m == nil {
				t.Errorf("%s: %s asks %s", b.UID, v.Name, query.Query)
				continue
			}
			if got := s.labelValues(t, m[2], expand(m[1], vars), w.begins, w.ends); !slices.Equal(got, want[v.Name]) {
				t.Errorf("%s: %s offers %v, not %v", b.UID, v.Name, got, want[v.Name])
			}
		}
	}
}

// TestBoardsWorkWithoutProviderAndSite: isp and site are labels that a configuration may give its
// peers, or not. Where it does not, nothing is missing but what compares providers.
func TestBoardsWorkWithoutProviderAndSite(t *testing.T) {
	w := newWorld(t, []peer{{name: "branch", faulty: true}, {name: "hq"}}, lastMinute())
	s, vars := serve(t, w), everything("branch")
	for _, b := range load(t) {
		for _, p := range b.all() {
			for _, q := range p.Targets {
				results := s.answer(t, q, vars, w.begins, w.ends)
				compares := strings.Contains(q.Expr, `isp!=""`)
				if compares != (len(results) == 0 || saysUnknown(results)) {
					t.Errorf("%s: %s brings %d series: %s", b.UID, p.Title, len(results), q.Expr)
				}
			}
		}
	}
}
