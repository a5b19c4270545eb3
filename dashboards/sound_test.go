package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// problems returns the defects of a board that show without Grafana. uids are the uids of
// all boards.
func problems(t *testing.T, b board, uids []string) []string {
	t.Helper()
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if !slices.Contains(b.Tags, "ipsec-path") || !strings.HasPrefix(b.UID, "ipsec-path-") || b.Title == "" || b.Description == "" {
		say("board: tags %v, uid %q, title %q, description %q", b.Tags, b.UID, b.Title, b.Description)
	}
	if b.Editable == nil || *b.Editable || b.GraphTooltip != 1 {
		say("board: it can be edited, or has no shared crosshair")
	}
	found = append(found, variableProblems(b)...)
	found = append(found, layoutProblems(b)...)
	found = append(found, linkProblems(t, b, uids)...)
	for _, p := range b.all() {
		found = append(found, panelProblems(b, p)...)
	}
	for _, a := range b.Annotations.List {
		if a.Name == "" || a.Title == "" || !isVariable(a.Datasource) {
			say("annotation %q: no title, or not ${datasource}", a.Name)
		}
		if ofOthers(a.Expr) {
			say("annotation %q: shows everybody's alerts", a.Name)
		}
		found = append(found, unknownVariables(b, "annotation "+a.Name, a.Expr)...)
	}
	return found
}

// isVariable reports whether the data source is the one that the board's variable names.
func isVariable(s *source) bool {
	return s != nil && s.Type == "prometheus" && s.UID == "${datasource}"
}

// unknownVariables are those in a text that the board does not have.
func unknownVariables(b board, where, text string) []string {
	var found []string
	for _, name := range variablesIn(text) {
		if !slices.ContainsFunc(b.Templating.List, func(v variable) bool { return v.Name == name }) {
			found = append(found, fmt.Sprintf("%s: there is no variable %s", where, name))
		}
	}
	return found
}

func variableProblems(b board) []string {
	var found, names []string
	for _, v := range b.Templating.List {
		if v.Label == "" || v.Description == "" || slices.Contains(names, v.Name) {
			found = append(found, "variable "+v.Name+": no label or description, or there twice")
		}
		names = append(names, v.Name)
		if v.Type == "datasource" {
			continue
		}
		asks := strings.HasPrefix(v.Definition, "label_values(") || strings.HasPrefix(v.Definition, "query_result(") && v.Regex != ""
		if v.Type != "query" || v.Refresh != 2 || !isVariable(v.Datasource) || !asks {
			found = append(found, "variable "+v.Name+": does not ask ${datasource} for a label's values whenever the time range changes")
		}
		// What a configuration may leave out must not hide the series that lack it.
		if (v.Name == "isp" || v.Name == "site") && v.AllValue != ".*" {
			found = append(found, "variable "+v.Name+": All does not match what lacks the label")
		}
		found = append(found, unknownVariables(b, "variable "+v.Name, v.Definition)...)
	}
	for _, name := range []string{"datasource", "job", "instance", "isp", "site", "peer"} {
		if !slices.Contains(names, name) {
			found = append(found, "there is no variable "+name)
		}
	}
	return found
}

// ofOthers reports whether a query shows alerts of other programs or jobs.
func ofOthers(expr string) bool {
	return slices.ContainsFunc(regexp.MustCompile(`ALERTS\{[^}]*\}`).FindAllString(expr, -1), func(selector string) bool {
		return !strings.Contains(selector, `job=~"$job"`)
	})
}

func layoutProblems(b board) []string {
	var found []string
	ids := make(map[int]string)
	everything := slices.Concat(b.Panels, b.all())
	for _, p := range everything {
		if other, taken := ids[p.ID]; p.ID == 0 || taken && other != p.Title {
			found = append(found, fmt.Sprintf("%s: id %d is that of %q, or none", p.Title, p.ID, other))
		}
		ids[p.ID] = p.Title
		if g := p.GridPos; g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			found = append(found, fmt.Sprintf("%s: does not fit in the grid: %v", p.Title, g))
		}
	}
	if len(ids) != len(b.Panels)+collapsedPanels(b) {
		found = append(found, "ids are there twice")
	}
	for _, panels := range b.rows() {
		found = append(found, overlaps(panels)...)
		found = append(found, unevenLines(panels)...)
	}
	return found
}

// rows are the panels that stand together: of the board, and of each collapsed row.
func (b board) rows() [][]panel {
	rows := [][]panel{b.Panels}
	for _, p := range b.Panels {
		if len(p.Panels) > 0 {
			rows = append(rows, p.Panels)
		}
	}
	return rows
}

// unevenLines returns the lines with a gap: panels side by side fill the width, and are of one
// height.
func unevenLines(panels []panel) []string {
	var found []string
	width, height := make(map[int]int), make(map[int]int)
	for _, p := range panels {
		y := p.GridPos.Y
		width[y] += p.GridPos.W
		if h := height[y]; h != 0 && h != p.GridPos.H {
			found = append(found, p.Title+": is not as high as the panel beside it")
		}
		height[y] = p.GridPos.H
	}
	for y, w := range width {
		if w != 24 {
			found = append(found, fmt.Sprintf("the panels at %d leave a hole: %d of 24", y, w))
		}
	}
	return found
}

func collapsedPanels(b board) int {
	n := 0
	for _, p := range b.Panels {
		n += len(p.Panels)
	}
	return n
}

func overlaps(panels []panel) []string {
	var found []string
	for i, p := range panels {
		for _, q := range panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				found = append(found, fmt.Sprintf("%s lies on %s", p.Title, q.Title))
			}
		}
	}
	return found
}

func linkProblems(t *testing.T, b board, uids []string) []string {
	t.Helper()
	var found []string
	carried := "?${datasource:queryparam}&${job:queryparam}"
	back := b.UID == "ipsec-path-fleet"
	for _, l := range b.Links {
		back = back || l.URL == "/d/ipsec-path-fleet"+carried
		if !strings.HasPrefix(l.URL, "/d/") {
			continue
		}
		if !l.KeepTime || l.IncludeVars || !strings.HasSuffix(l.URL, carried) {
			found = append(found, "link "+l.Title+": loses the time, or takes the peer of this board along")
		}
	}
	if !back || len(b.Links) < 2 {
		found = append(found, "no links to the other boards")
	}
	check := func(where string, l link) {
		if uid, ok := strings.CutPrefix(l.URL, "/d/"); ok {
			uid, _, _ = strings.Cut(uid, "?")
			if !slices.Contains(uids, uid) {
				found = append(found, where+": there is no board "+uid)
			}
		} else if !strings.Contains(l.URL, "/peers/") && !strings.Contains(l.URL, "/docs/runbooks/README.md#") {
			found = append(found, where+": leads to "+l.URL)
		}
		found = append(found, unknownVariables(b, where, strings.ReplaceAll(l.URL, ":queryparam", ""))...)
	}
	for _, l := range b.Links {
		check("link "+l.Title, l)
	}
	for _, p := range b.all() {
		for _, l := range p.dataLinks(t) {
			check(p.Title+": link "+l.Title, l)
		}
	}
	return found
}

func panelProblems(b board, p panel) []string {
	var found []string
	say := func(what string) { found = append(found, fmt.Sprintf("%s: %s", p.Title, what)) }
	if p.Title == "" || len(p.Description) < 15 {
		say("no title, or no description that says something")
	}
	if !isVariable(p.Datasource) {
		say("its data source is not ${datasource}")
	}
	if p.Type == "text" {
		if p.Options.Content == "" {
			say("says nothing")
		}
		return found
	}
	if p.FieldConfig.Defaults.Unit == "" || p.Type == "heatmap" && p.Options.YAxis.Unit == "" {
		say("no unit")
	}
	if strings.HasPrefix(p.FieldConfig.Defaults.Unit, "dec") {
		say("a size of packets that is rounded to kilobytes")
	}
	if len(p.Targets) == 0 {
		say("asks nothing")
	}
	found = append(found, readingProblems(p)...)
	if (p.Type == "stat" || p.Type == "bargauge" || p.Type == "table") && slices.ContainsFunc(p.Targets, func(t target) bool { return !t.Instant }) {
		say("shows the newest value of a time range, which may be old")
	}
	refs := make(map[string]bool)
	for _, q := range p.Targets {
		if q.RefID == "" || refs[q.RefID] || q.Expr == "" || !isVariable(q.Datasource) {
			say("query " + q.RefID + " is empty, there twice, or does not ask ${datasource}")
		}
		refs[q.RefID] = true
		if ofOthers(q.Expr) {
			say("shows everybody's alerts")
		}
		if q.Format == "time_series" && q.LegendFormat == "" {
			say("query " + q.RefID + " has no legend")
		}
		found = append(found, unknownVariables(b, p.Title, q.Expr)...)
	}
	return found
}

// readingProblems are settings with which Grafana shows something else than what the panel means.
func readingProblems(p panel) []string {
	var found []string
	say := func(what string) { found = append(found, fmt.Sprintf("%s: %s", p.Title, what)) }
	f := p.FieldConfig.Defaults
	switch p.Type {
	case "table":
		if strings.HasPrefix(f.Unit, "dateTime") {
			say("texts are read as dates: a date belongs to its column")
		}
	case "state-timeline":
		if f.Color.Mode != "fixed" {
			say("spans show the ranges of thresholds in place of the words of the mappings")
		}
	case "stat":
		if !slices.ContainsFunc(f.Mappings, func(m json.RawMessage) bool { return strings.Contains(string(m), `"null+nan"`) }) {
			say("what is not known has the colour of the first threshold")
		}
	case "bargauge":
		if f.DisplayName != "${__series.name}" {
			say("a single bar has no name")
		}
	}
	if f.Unit == "suffix:B" && len(f.Thresholds.Steps) > 1 {
		say("a colour by the size of a path MTU: small is no fault")
	}
	return found
}

// uidsOf returns the uids of all boards.
func uidsOf(boards []board) []string {
	var all []string
	for _, b := range boards {
		all = append(all, b.UID)
	}
	return all
}

func TestBoardsAreSound(t *testing.T) {
	boards := load(t)
	uids := uidsOf(boards)
	slices.Sort(uids)
	want := []string{"ipsec-path-evidence", "ipsec-path-exporter", "ipsec-path-fleet", "ipsec-path-peer", "ipsec-path-tunnels"}
	if !slices.Equal(uids, want) {
		t.Errorf("uids are fixed: got %v, want %v", uids, want)
	}
	for _, b := range boards {
		for _, p := range problems(t, b, uids) {
			t.Errorf("%s: %s", b.UID, p)
		}
	}
}

// TestSoundnessCanFail plants a mistake at a time.
func TestSoundnessCanFail(t *testing.T) {
	text, err := os.ReadFile("fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	uids := uidsOf(load(t))
	for name, change := range map[string][2]string{
		"no title":               {`"title": "Faults by provider"`, `"title": ""`},
		"no description":         {`"description": "Number of paths with each diagnosis now."`, `"description": ""`},
		"no unit":                {`"unit": "suffix:B"`, `"unit": ""`},
		"no unit of an axis":     {`"unit": "s"`, `"unit": ""`},
		"rounded size":           {`"unit": "suffix:B"`, `"unit": "decbytes"`},
		"fixed data source":      {`"uid": "${datasource}"`, `"uid": "prom-1"`},
		"id twice":               {`"id": 3,`, `"id": 2,`},
		"overlap":                {`"y": 5`, `"y": 2`},
		"a hole":                 {`"w": 14`, `"w": 13`},
		"outside of the grid":    {`"w": 14`, `"w": 25`},
		"link to nowhere":        {`"url": "/d/ipsec-path-peer?`, `"url": "/d/ipsec-path-pear?`},
		"link to elsewhere":      {`/peers/`, `/piers/`},
		"unknown variable":       {`site=~\"$site\"`, `site=~\"$place\"`},
		"variable is gone":       {`"name": "isp"`, `"name": "provider"`},
		"label is required":      {`"allValue": ".*"`, `"allValue": ".+"`},
		"not refreshed":          {`"refresh": 2`, `"refresh": 1`},
		"marks of other jobs":    {`,alertstate=\"firing\",job=~\"$job\"`, `,alertstate=\"firing\"`},
		"alerts of other jobs":   {`severity=~\"critical|warning\",job=~\"$job\"`, `severity=~\"critical|warning\",job=~\"ipsec\"`},
		"texts as dates":         {"\"unit\": \"none\"", `"unit": "dateTimeFromNow"`},
		"ranges for words":       {`"mode": "fixed"`, `"mode": "thresholds"`},
		"unknown is green":       {`"match": "null+nan"`, `"match": "true"`},
		"bar without a name":     {`"displayName": "${__series.name}"`, `"displayName": ""`},
		"the peer goes along":    {`"includeVars": false`, `"includeVars": true`},
		"link loses the job":     {`&${job:queryparam}"`, `"`},
		"no legend":              {`"legendFormat": "{{diagnosis}}"`, `"legendFormat": ""`},
		"can be edited":          {`"editable": false`, `"editable": true`},
		"no crosshair":           {`"graphTooltip": 1`, `"graphTooltip": 0`},
		"no tag":                 {"\"tags\": [\n    \"ipsec-path\"\n  ]", `"tags": []`},
		"time is lost":           {`"keepTime": true`, `"keepTime": false`},
		"value may be hours old": {`"instant": true`, `"instant": false`},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(text), change[0]) {
				t.Fatalf("there is no %s to change", change[0])
			}
			if found := problems(t, decode(t, []byte(strings.ReplaceAll(string(text), change[0], change[1]))), uids); len(found) == 0 {
				t.Error("nothing was found")
			}
		})
	}
}
