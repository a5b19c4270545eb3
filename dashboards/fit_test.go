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

// Measures of Grafana on a laptop's screen, in pixels.
const (
	screenWidth = 1366
	// sideMargins are the margins of a board, gap is between columns of the grid, padding is inside of a panel.
	sideMargins, gap, padding = 2 * 16, 8, 8
	// titleIcons is the room that the sign of the description and the menu take.
	titleIcons = 24 + 32
	// mostStats is how many numbers stand side by side.
	mostStats = 6
	// mostQueries is how many queries a board sends before a row is opened.
	mostQueries = 25
	// autoColumn is the least width of a column of a table, if it says none.
	autoColumn = 150
)

// pixels is the width of a panel.
func (r rect) pixels() int {
	column := float64(screenWidth-sideMargins-23*gap) / 24
	return int(column*float64(r.W)) + (r.W-1)*gap
}

// textWidth is about the width of a text in the font of titles (Inter, 14 px, medium).
func textWidth(text string) int {
	tenths := 0
	for _, c := range text {
		switch {
		case strings.ContainsRune("iljtf.,:;'|()[] I", c):
			tenths += 42
		case strings.ContainsRune("mwMW%", c):
			tenths += 118
		case c >= 'A' && c <= 'Z':
			tenths += 96
		default:
			tenths += 80
		}
	}
	return tenths / 10
}

// columnWidths are the widths of a table's columns: fixed ones, and the least of those that take the rest.
func (p panel) columnWidths(t *testing.T) (sum, elastic int) {
	t.Helper()
	titles := make(map[string]string)
	for _, transformation := range p.Transformations {
		for field, title := range transformation.Options.RenameByName {
			if !transformation.Options.ExcludeByName[field] {
				titles[title] = field
			}
		}
	}
	for title := range titles {
		width, hidden := 0, false
		for _, o := range p.FieldConfig.Overrides {
			for _, property := range o.Properties {
				hidden = hidden || o.Matcher.Options == title && property.ID == "custom.hidden"
				if o.Matcher.Options != title || property.ID != "custom.width" && property.ID != "custom.minWidth" {
					continue
				}
				if err := json.Unmarshal(property.Value, &width); err != nil {
					t.Fatal(err)
				}
				if property.ID == "custom.minWidth" {
					elastic++
				}
			}
		}
		if hidden {
			continue
		}
		if width == 0 {
			width = autoColumn
			elastic++
		}
		sum += width
	}
	return sum, elastic
}

// misfits are the things on a board that do not fit on a laptop's screen.
func misfits(t *testing.T, b board) []string {
	t.Helper()
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, p := range b.all() {
		title := strings.ReplaceAll(p.Title, "$rows", "50 of 54")
		if need, room := textWidth(title), p.GridPos.pixels()-2*padding-titleIcons; need > room {
			say("%s: the title needs %d px of %d", p.Title, need, room)
		}
		if p.Type == "table" {
			sum, elastic := p.columnWidths(t)
			if room := p.GridPos.pixels() - 2*padding; sum > room || elastic == 0 {
				say("%s: the columns need %d px of %d, and %d take the rest", p.Title, sum, room, elastic)
			}
		}
		if p.Type == "bargauge" && p.Options.Sizing != "manual" {
			say("%s: few bars are giants, and many are cut off", p.Title)
		}
	}
	for _, panels := range b.rows() {
		stats := make(map[int]int)
		for _, p := range panels {
			if p.Type == "stat" {
				stats[p.GridPos.Y]++
			}
		}
		for y, n := range stats {
			if n > mostStats {
				say("%d numbers stand side by side at %d", n, y)
			}
		}
	}
	queries := 0
	for _, p := range b.Panels {
		queries += len(p.Targets)
	}
	if queries > mostQueries {
		say("%d queries before a row is opened", queries)
	}
	return found
}

// markFaults are annotations that would cover a board.
func markFaults(b board) []string {
	var found []string
	starts := regexp.MustCompile(`ALERTS\{[^}]*\} unless ALERTS\{[^}]*\} offset 1m`)
	for _, a := range b.Annotations.List {
		if strings.Contains(a.Expr, "ALERTS") && !starts.MatchString(a.Expr) {
			found = append(found, a.Name+": marks an alert for as long as it fires")
		}
		if b.UID == "ipsec-path-fleet" && strings.Contains(a.Expr, `alertname=~"IPsecPath.*"`) {
			found = append(found, a.Name+": marks the alerts of every peer")
		}
	}
	return found
}

func TestBoardsFitOnALaptop(t *testing.T) {
	for _, b := range load(t) {
		for _, problem := range slices.Concat(misfits(t, b), markFaults(b)) {
			t.Errorf("%s: %s", b.UID, problem)
		}
	}
}

// TestFitCanFail plants a mistake at a time.
func TestFitCanFail(t *testing.T) {
	text, err := os.ReadFile("fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a long title":         {`"title": "Silent"`, `"title": "Peers that answer by no method at all, not even once"`},
		"wide columns":         {`"value": 170`, `"value": 900`},
		"no elastic column":    {`"custom.minWidth"`, `"custom.width"`},
		"giant bars":           {`"sizing": "manual"`, `"sizing": "auto"`},
		"a line of eight":      {`"y": 4`, `"y": 1`},
		"alerts as regions":    {` unless ALERTS{`, ` or ALERTS{`},
		"alerts of every peer": {`alertname=~\"IPsecPath(ProviderFault|VantageSuspect|ExporterDown|CannotSend|GatewayUnreadable)\"`, `alertname=~\"IPsecPath.*\"`},
		"too many queries":     {`"collapsed": false`, `"collapsed": false, "targets": [{}, {}, {}, {}, {}]`},
	} {
		if !strings.Contains(string(text), change[0]) {
			t.Errorf("%s: there is no %s to change", name, change[0])
			continue
		}
		b := decode(t, []byte(strings.ReplaceAll(string(text), change[0], change[1])))
		if len(misfits(t, b))+len(markFaults(b)) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
}
