package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// uids of the boards; links go by them.
const (
	uidFleet    = "ipsec-path-fleet"
	uidPeer     = "ipsec-path-peer"
	uidEvidence = "ipsec-path-evidence"
	uidTunnels  = "ipsec-path-tunnels"
	uidExporter = "ipsec-path-exporter"
)

// tag selects the boards of the drop-down.
const tag = "ipsec-path"

// gridWidth is the width of a board in Grafana's units.
const gridWidth = 24

// A board is one dashboard.
type board struct {
	uid, title, about string
	// from is the start of the default time range.
	from        string
	variables   []dashboard.VariableModel
	annotations []dashboard.AnnotationQuery
	rows        []row
	// more are links that follow those to the other boards.
	more []dashboard.DashboardLink
}

// A row is a heading and its panels. The panels of a collapsed row send no query until it is
// opened.
type row struct {
	title     string
	collapsed bool
	panels    []panel
}

func (b board) file() string { return strings.TrimPrefix(b.uid, tag+"-") + ".json" }

// build lays the board out.
func (b board) build() (dashboard.Dashboard, error) { //nolint:staticcheck // the newer format needs Grafana 12
	d := *dashboard.NewDashboard()
	d.Uid, d.Title, d.Description = &b.uid, &b.title, &b.about
	d.Tags = []string{tag}
	d.Editable = new(false)
	d.GraphTooltip = new(dashboard.DashboardCursorSyncCrosshair)
	d.Time = &dashboard.DashboardDashboardTime{From: b.from, To: "now"}
	d.Refresh = new("1m")
	d.Templating.List = b.variables
	d.Annotations.List = b.annotations
	d.Links = b.links()
	l := layout{}
	for _, r := range b.rows {
		if err := l.add(r); err != nil {
			return d, fmt.Errorf("row %q: %w", r.title, err)
		}
	}
	d.Panels = l.panels
	return d, nil
}

// links lead from every board to those about many peers, with the time range, the data source and the
// job. They do not carry the other variables: with the peer of this board, the fleet would be one peer.
func (b board) links() []dashboard.DashboardLink {
	var links []dashboard.DashboardLink
	for _, to := range []struct{ uid, title, about string }{
		{uidFleet, "Fleet", "All peers: active faults"},
		{uidTunnels, "Tunnels", "SA tables of the gateways"},
		{uidExporter, "Exporters", "Whether the data can be trusted"},
	} {
		if to.uid == b.uid {
			continue
		}
		title := to.title
		if to.uid == uidFleet {
			title = "Back to fleet"
		}
		links = append(links, dashboard.DashboardLink{
			Title: title, Type: dashboard.DashboardLinkTypeLink, Icon: "dashboard", Tooltip: to.about,
			Url: new("/d/" + to.uid + "?${datasource:queryparam}&${job:queryparam}"), Tags: []string{}, KeepTime: true,
		})
	}
	return append(links, b.more...)
}

// A layout places panels side by side; a line is as high as its highest panel.
type layout struct {
	panels     []dashboard.PanelOrRowPanel
	id         uint32
	x, y, high uint32
}

// add appends a row and its panels.
func (l *layout) add(r row) error {
	l.newLine()
	heading := dashboard.RowPanel{
		Type: "row", Title: &r.title, Collapsed: r.collapsed, Id: l.next(), Panels: []dashboard.Panel{},
		GridPos: &dashboard.GridPos{W: gridWidth, H: 1, Y: l.y},
	}
	l.y++
	var placed []dashboard.Panel
	for _, p := range r.panels {
		built, err := p.build()
		if err != nil {
			return fmt.Errorf("panel %q: %w", p.title, err)
		}
		built.Id, built.GridPos = new(l.next()), l.place(p.w, p.h)
		placed = append(placed, built)
	}
	l.newLine()
	if r.collapsed {
		l.y = heading.GridPos.Y + 1 // its panels take no room until it is opened
		heading.Panels = placed
	}
	l.panels = append(l.panels, dashboard.PanelOrRowPanel{RowPanel: &heading})
	if !r.collapsed {
		for i := range placed {
			l.panels = append(l.panels, dashboard.PanelOrRowPanel{Panel: &placed[i]})
		}
	}
	return nil
}

func (l *layout) next() uint32 {
	l.id++
	return l.id
}

func (l *layout) place(w, h uint32) *dashboard.GridPos {
	if l.x+w > gridWidth {
		l.newLine()
	}
	at := &dashboard.GridPos{X: l.x, Y: l.y, W: w, H: h}
	l.x += w
	l.high = max(l.high, h)
	return at
}

func (l *layout) newLine() {
	l.x, l.y, l.high = 0, l.y+l.high, 0
}
