package main

import (
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/text"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Units. Sizes of packets are exact, so they are never shown as kilobytes.
const (
	packetSize = "suffix:B"
	count      = "locale"   // 2,000 peers, not 2 K
	age        = "suffix:s" // 100 s, not 1.67 mins
	states     = "none"
	share      = "percentunit"
	seconds    = "s"
	perSecond  = "suffix:/s"
	bytesRate  = "Bps"
	ago        = "dateTimeFromNow"
	date       = "dateTimeAsIso"
)

// A panel has the properties of all kinds of panels and the builder of its kind.
type panel struct {
	title, about, unit string
	w, h               uint32
	queries            []query
	decimals           *float64
	min, max           *float64
	thresholds         *dashboard.ThresholdsConfig
	mappings           []dashboard.ValueMapping
	// noValue replaces a missing value.
	noValue string
	// known selects series whose existence makes it a fact that there is nothing to show; unknown is the
	// text if they are missing (see fallback).
	known, unknown string
	// noneColour is the colour of nothing as a fact, if not that of what is well.
	noneColour string
	// others selects series that bring rows by a query that is not the first.
	others   string
	fallback *fallback
	// greyed shows a missing value in the colour of the unknown: without it, in that of the first
	// threshold, which is often green.
	greyed bool
	// named shows the name of the series even if there is only one.
	named      bool
	links      []dashboard.DashboardLink
	overrides  []dashboard.DashboardFieldConfigSourceOverrides
	transforms []dashboard.DataTransformerConfig
	// sorted is the field of a table by which its rows are sorted, in descending order. It is not shown,
	// nor are the hidden fields.
	sorted string
	hidden []string

	kind cog.Builder[dashboard.Panel]
}

// build returns the panel without a position.
func (p panel) build() (dashboard.Panel, error) {
	d, err := p.kind.Build()
	if err != nil {
		return d, err
	}
	d.Title, d.Description, d.Datasource, d.Transformations = &p.title, &p.about, source(), p.transforms
	for i, q := range p.queries {
		d.Targets = append(d.Targets, variants.Dataquery(q.build(string(rune('A'+i)))))
	}
	if d.FieldConfig == nil {
		return d, nil
	}
	f := &d.FieldConfig.Defaults
	f.Unit, f.Decimals, f.Min, f.Max, f.Thresholds, f.Links = &p.unit, p.decimals, p.min, p.max, p.thresholds, p.links
	f.Mappings = p.allMappings()
	if p.noValue != "" {
		f.NoValue = &p.noValue
	}
	if p.named {
		f.DisplayName = new("${__series.name}")
	}
	if f.Thresholds == nil {
		f.Thresholds = limits(neutral) // Grafana's own ones are red from 80 on
	}
	if p.overrides != nil {
		d.FieldConfig.Overrides = p.overrides
	}
	return d, nil
}

// allMappings returns the mappings of the values and, if that has a colour, of a missing value.
func (p panel) allMappings() []dashboard.ValueMapping {
	if !p.greyed {
		return p.mappings
	}
	text := p.noValue
	if text == "" {
		text = "unknown"
	}
	return append(slices.Clip(p.mappings), missing(text, len(p.mappings)))
}

// number is one large value. Its query is instant, because the last value of a time range may be
// hours old.
func (p panel) number() panel {
	p.greyed = true
	p.kind = stat.NewPanelBuilder().ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).Orientation(common.VizOrientationAuto).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
	return p
}

// verdict is one large word on its colour.
func (p panel) verdict() panel {
	p.greyed = true
	p.kind = stat.NewPanelBuilder().ColorMode(common.BigValueColorModeBackgroundSolid).GraphMode(common.BigValueGraphModeNone).Orientation(common.VizOrientationAuto).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
	return p
}

// plot has the settings of all graphs.
func plot() *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().LineWidth(1).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
}

func (p panel) graph() panel {
	p.kind = plot().FillOpacity(10)
	return p
}

// stepGraph is for values that hold until the next measurement.
func (p panel) stepGraph() panel {
	p.kind = plot().LineInterpolation(common.LineInterpolationStepAfter).LineWidth(2)
	return p
}

// sizeGraph is a stepGraph of packet sizes. All have the same axis.
func (p panel) sizeGraph() panel {
	p.kind = plot().LineInterpolation(common.LineInterpolationStepAfter).LineWidth(2).AxisSoftMin(1200).AxisSoftMax(1520)
	return p
}

func (p panel) stacked() panel {
	p.kind = plot().FillOpacity(40).LineInterpolation(common.LineInterpolationStepAfter).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	return p
}

// timeline is a row of coloured spans for each series. Times without a value stay gaps. label names the
// row that stands for nothing. The mappings
// give the words and colours: where Grafana colours by thresholds and merges equal values, it shows the
// ranges of the thresholds in place of the words.
func (p panel) timeline(label string) panel {
	p = p.withFallback(label, false)
	p.mappings = append(slices.Clip(p.mappings), byValue(p.fallback.states())...)
	p.kind = statetimeline.NewPanelBuilder().MergeValues(true).NeverSpanNulls().ShowValue(common.VisibilityModeAuto).RowHeight(0.85).FillOpacity(80).LineWidth(0).
		PerPage(20).Legend(common.NewVizLegendOptionsBuilder().ShowLegend(false).DisplayMode(common.LegendDisplayModeHidden).Placement(common.LegendPlacementBottom)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdFixed).FixedColor(neutral))
	return p
}

func (p panel) bars() panel {
	p.named = true
	p.kind = bargauge.NewPanelBuilder().DisplayMode(common.BarGaugeDisplayModeBasic).Orientation(common.VizOrientationHorizontal).
		ValueMode(common.BarGaugeValueModeColor).ShowUnfilled(false).
		Sizing(common.BarGaugeSizingManual).MinVizHeight(16).MaxVizHeight(20).NamePlacement(common.BarGaugeNamePlacementLeft).
		Text(common.NewVizTextDisplayOptionsBuilder().TitleSize(12).ValueSize(12)).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
	return p
}

// heat shows a histogram over time. The panel's unit is the unit of the buckets and goes to the
// axis, because Grafana uses the panel's own unit for the counts.
func (p panel) heat() panel {
	axis := p.unit
	p.unit = "suffix:/s"
	p.kind = heatmap.NewPanelBuilder().Calculate(false).ShowLegend().
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Oranges").Fill("dark-orange").
			Scale(heatmap.HeatmapColorScaleExponential).Exponent(0.5).Steps(64)).
		CellValues(heatmap.NewCellValuesBuilder().Unit(p.unit).Decimals(2)).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(axis).AxisPlacement(common.AxisPlacementLeft))
	return p
}

func words(title, about, content string, w, h uint32) panel {
	return panel{title: title, about: about, w: w, h: h, unit: states, kind: text.NewPanelBuilder().Mode(text.TextModeMarkdown).Content(content)}
}

// dashed draws the lines that match in dashes, so that lines below them show.
func dashed(regexp string) []dashboard.DashboardFieldConfigSourceOverrides {
	return []dashboard.DashboardFieldConfigSourceOverrides{{
		Matcher:    dashboard.MatcherConfig{Id: "byRegexp", Options: regexp},
		Properties: []dashboard.DynamicConfigValue{{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{10, 10}}}},
	}}
}

// rightAxis moves the series that match to an axis of their own.
func rightAxis(regexp, unit string) []dashboard.DashboardFieldConfigSourceOverrides {
	return []dashboard.DashboardFieldConfigSourceOverrides{{
		Matcher: dashboard.MatcherConfig{Id: "byRegexp", Options: regexp},
		Properties: []dashboard.DynamicConfigValue{
			{Id: "unit", Value: unit}, {Id: "custom.axisPlacement", Value: string(common.AxisPlacementRight)},
		},
	}}
}
