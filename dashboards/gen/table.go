package main

import (
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// A column is a label or a value of a table.
type column struct {
	// field is Grafana's name: a label, "Value", or "Value #A" if there are several queries.
	field, title string
	unit         string
	decimals     *float64
	mappings     []dashboard.ValueMapping
	thresholds   *dashboard.ThresholdsConfig
	links        []dashboard.DashboardLink
	// cell is the display mode of the cell, if not text.
	cell  common.TableCellDisplayMode
	min   *float64
	max   *float64
	width int
	// least is the smallest width of a column that takes what the others leave.
	least int
	// tooltip is the title of the column, usually a hidden one, whose text shows at the cell. Grafana has
	// that since version 12.2.
	tooltip string
	hidden  bool
}

// table shows the columns in the given order. Queries aggregate, because a peer may have any
// labels. sortBy is the title of a column, sorted in descending order.
func (p panel) table(sortBy string, cols ...column) panel {
	b := table.NewPanelBuilder().ShowHeader(true).CellHeight(common.TableCellHeightSm).Filterable(true).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{}))
	if sortBy != "" {
		b = b.SortBy([]cog.Builder[common.TableSortByFieldState]{common.NewTableSortByFieldStateBuilder().DisplayName(sortBy).Desc(true)})
	}
	p.kind = b
	if p.unit == ago || p.unit == date {
		p.unit = states // a date belongs to its column: Grafana reads the text of the others as dates too
	}
	label, whole := "", false
	if i := slices.IndexFunc(cols, func(c column) bool { return !strings.HasPrefix(c.field, "Value") }); !cols[i].ofOne() {
		label, whole = cols[i].field, cols[i].mappings == nil
	}
	p = p.withFallback(label, whole)
	p.noValue = "-" // of a cell
	rename, index := map[string]any{}, map[string]any{}
	for i, c := range cols {
		rename[c.field], index[c.field] = c.title, i
		c.mappings = p.columnMappings(c)
		if o := c.override(); len(o.Properties) > 0 {
			p.overrides = append(p.overrides, o)
		}
	}
	if len(p.queries) > 1 {
		if p.sorted != value(0) {
			rename["Value"] = rename[value(0)] // its name if the other queries return nothing
		}
		p.transforms = append(p.transforms, dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}})
	}
	hidden := map[string]any{"Time": true}
	for _, field := range p.hidden {
		hidden[field] = true
	}
	if p.sorted != "" {
		hidden[p.sorted], hidden["Value"] = true, true
		p.transforms = append(p.transforms, dashboard.DataTransformerConfig{Id: "sortBy", Options: map[string]any{
			"sort": []map[string]any{{"field": p.sorted, "desc": true}},
		}})
	}
	p.transforms = append(p.transforms, dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
		"excludeByName": hidden, "renameByName": rename, "indexByName": index,
	}})
	return p
}

// ofOne reports whether the links of the column lead to what its text names: a row that stands for
// nothing has to leave it empty.
func (c column) ofOne() bool {
	return slices.ContainsFunc(c.links, func(l dashboard.DashboardLink) bool { return strings.Contains(*l.Url, "${__data.fields.") })
}

// columnMappings returns the mappings of a column, of a row that stands for nothing and, where the texts
// have colours, of a missing value.
func (p panel) columnMappings(c column) []dashboard.ValueMapping {
	all := slices.Clip(c.mappings)
	f := p.fallback
	switch first := c.field == value(0) || c.field == "Value"; {
	case c.field == f.label && len(all) > 0:
		all = append(all, byValue([]state{{f.name(f.unknown), f.unknown, unknown}, {f.name(f.none), f.none, f.colour}})...)
	case first && f.label == "":
		all = append(all, byValue(f.states())...)
	case first:
		all = append(all, byValue([]state{{notKnown, "-", unknown}, {nothingHere, "-", unknown}})...)
	}
	if len(all) > 0 || strings.HasPrefix(c.field, "Value") {
		all = append(all, missing("-", len(all)))
	}
	return all
}

// override returns the settings of the column, matched by its title.
func (c column) override() dashboard.DashboardFieldConfigSourceOverrides {
	o := dashboard.DashboardFieldConfigSourceOverrides{
		Matcher: dashboard.MatcherConfig{Id: "byName", Options: c.title}, Properties: []dashboard.DynamicConfigValue{},
	}
	set := func(id string, v any) {
		o.Properties = append(o.Properties, dashboard.DynamicConfigValue{Id: id, Value: v})
	}
	if c.unit != "" {
		set("unit", c.unit)
	}
	if c.decimals != nil {
		set("decimals", *c.decimals)
	}
	if c.mappings != nil {
		set("mappings", c.mappings)
	}
	if c.thresholds != nil {
		set("thresholds", c.thresholds)
	}
	if c.links != nil {
		set("links", c.links)
	}
	if c.cell != "" {
		set("custom.cellOptions", map[string]any{"type": c.cell, "mode": "basic"})
	}
	if c.min != nil {
		set("min", *c.min)
	}
	if c.max != nil {
		set("max", *c.max)
	}
	if c.width != 0 {
		set("custom.width", c.width)
	}
	if c.tooltip != "" {
		set("custom.tooltip", map[string]any{"field": c.tooltip, "placement": "auto"})
	}
	if c.hidden {
		set("custom.hidden", true) // until Grafana 12
		set("custom.hideFrom", map[string]any{"viz": true, "legend": true, "tooltip": true})
	}
	if c.least != 0 {
		set("custom.minWidth", c.least)
	}
	return o
}

// value returns the column of the n-th of several queries.
func value(n int) string { return "Value #" + string(rune('A'+n)) }

// peerColumns identify the path of a row.
func peerColumns(links []dashboard.DashboardLink) []column {
	return []column{
		{field: "peer", title: "peer", links: links, width: 190},
		{field: "isp", title: "provider", width: 110},
		{field: "site", title: "site", width: 110},
		{field: "instance", title: "seen from", width: 170},
	}
}
