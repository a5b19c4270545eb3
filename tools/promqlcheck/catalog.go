package promqlcheck

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Labels are the possible labels of a series.
type Labels struct {
	Names map[string]bool
	// Open means that labels of the user's configuration are possible too.
	Open bool
	// Any means that the labels are unknown.
	Any bool
}

func labelsOf(names ...string) Labels {
	l := Labels{Names: make(map[string]bool, len(names))}
	for _, n := range names {
		l.Names[n] = true
	}
	return l
}

// configured are the labels of peers that rules and boards use if the user configures them.
func configured() []string { return []string{"isp", "site"} }

// Has reports whether the label is possible.
func (l Labels) Has(name string) bool {
	return l.Any || l.Names[name] || l.Open && slices.Contains(configured(), name)
}

func (l Labels) without(names ...string) Labels {
	out := Labels{Names: maps.Clone(l.Names), Open: l.Open, Any: l.Any}
	for _, n := range names {
		delete(out.Names, n)
	}
	return out
}

// only returns the given labels that are possible.
func (l Labels) only(names ...string) Labels {
	out := labelsOf()
	for _, n := range names {
		if l.Has(n) {
			out.Names[n] = true
		}
	}
	return out
}

func (l Labels) with(names ...string) Labels {
	out := l.without()
	for _, n := range names {
		out.Names[n] = true
	}
	return out
}

// common returns the labels of both sets.
func (l Labels) common(other Labels) Labels {
	switch {
	case l.Any:
		return other
	case other.Any:
		return l
	}
	out := labelsOf()
	out.Open = l.Open && other.Open
	for n := range l.Names {
		if other.Has(n) {
			out.Names[n] = true
		}
	}
	for n := range other.Names {
		if l.Has(n) {
			out.Names[n] = true
		}
	}
	return out
}

// A Metric is a metric that may be queried.
type Metric struct {
	Kind   string // gauge, counter, histogram, recorded; empty where it is not known
	Labels Labels
	// Own is its family in the exporter, empty for metrics of other programs.
	Own string
}

// A Catalog lists the existing metrics and label values.
type Catalog struct {
	Metrics map[string]Metric
	// Values are the closed sets, by metric (empty for all) and label.
	Values map[string]map[string][]string
}

// ReadCatalog reads docs/metrics.md, which a test of the exporter generates from its registry.
func ReadCatalog(path string) (*Catalog, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Catalog{Metrics: foreign(), Values: make(map[string]map[string][]string)}
	page := string(b)
	for _, part := range []string{"peers", "gateways", "process"} {
		text, err := generated(page, part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| (.*?) \\|").FindAllStringSubmatch(text, -1) {
			c.add(row[1], row[2], words(row[3]))
		}
	}
	text, err := generated(page, "libraries")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range words(text) {
		c.Metrics[name] = Metric{Labels: Labels{Any: true}}
	}
	text, err = generated(page, "values")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| (all|`\\w+`) \\| `(\\w+)` \\| (.*?) \\|").FindAllStringSubmatch(text, -1) {
		metric := strings.Trim(strings.TrimPrefix(row[1], "all"), "`")
		if c.Values[metric] == nil {
			c.Values[metric] = make(map[string][]string)
		}
		c.Values[metric][row[2]] = words(row[3])
	}
	if n := len(c.Own()); n < 40 || len(c.Values) < 5 {
		return nil, fmt.Errorf("%s names only %d metrics and %d sets of values", path, n, len(c.Values))
	}
	return c, nil
}

func generated(page, part string) (string, error) {
	_, rest, ok := strings.Cut(page, "<!-- begin generated: "+part+" -->")
	text, _, closed := strings.Cut(rest, "<!-- end generated: "+part+" -->")
	if !ok || !closed {
		return "", fmt.Errorf("no generated part %q", part)
	}
	return text, nil
}

func words(s string) []string {
	var out []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(s, -1) {
		out = append(out, m[1])
	}
	return out
}

// add adds a family of the exporter.
func (c *Catalog) add(name, kind string, labels []string) {
	l := labelsOf(append(labels, "job", "instance")...)
	l.Open = slices.Contains(labels, "peer")
	c.Metrics[name] = Metric{Kind: kind, Labels: l, Own: name}
	if kind != "histogram" {
		return
	}
	c.Metrics[name+"_sum"] = Metric{Kind: "counter", Labels: l, Own: name}
	c.Metrics[name+"_count"] = Metric{Kind: "counter", Labels: l, Own: name}
	c.Metrics[name+"_bucket"] = Metric{Kind: "counter", Labels: l.with("le"), Own: name}
}

// Own returns the families of the exporter.
func (c *Catalog) Own() []string {
	var out []string
	for name, m := range c.Metrics {
		if m.Own == name {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// foreign returns metrics of Prometheus itself.
func foreign() map[string]Metric {
	target := labelsOf("job", "instance")
	return map[string]Metric{
		"up":                                    {Kind: "gauge", Labels: target},
		"scrape_duration_seconds":               {Kind: "gauge", Labels: target},
		"scrape_samples_scraped":                {Kind: "gauge", Labels: target},
		"scrape_samples_post_metric_relabeling": {Kind: "gauge", Labels: target},
		"scrape_series_added":                   {Kind: "gauge", Labels: target},
		"ALERTS":                                {Kind: "gauge", Labels: Labels{Any: true}},
		"ALERTS_FOR_STATE":                      {Kind: "gauge", Labels: Labels{Any: true}},
	}
}

// closed returns the possible values of a metric's label, nil if they are open.
func (c *Catalog) closed(metric, label string) []string {
	if m, ok := c.Metrics[metric]; !ok || m.Own == "" && m.Kind != "recorded" {
		return nil
	}
	if own := c.Metrics[metric].Own; own != "" {
		metric = own
	}
	if values := c.Values[metric][label]; values != nil {
		return values
	}
	return c.Values[""][label]
}
