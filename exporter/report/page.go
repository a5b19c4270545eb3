package report

import (
	"fmt"
	"strings"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

// A page is what text, Markdown and HTML show of one report, or of the comparison of several. The
// forms differ in layout alone: every sentence is in the page.
type page struct {
	// name is the peer with its address and the way to it, result the outcome in a few words.
	name, result string
	fault        bool
	chapters     []chapter
}

// A chapter is a part of a page.
type chapter struct {
	title  string
	blocks []block
}

// A block is one piece of a chapter; one of its groups of fields is set. Words between backticks
// are code.
type block struct {
	paragraph string
	// list has numbers from first on if that is not 0.
	list  []string
	first int
	// code are lines of a terminal, of a shell or of a device.
	code  []string
	shell bool
	// pairs are labels with a text each.
	pairs []Line
	// table has its head as the first row; a grid has labels in its first column.
	table [][]string
	grid  bool
}

// sections are the chapters of a report in their order: templates in texts/sections whose first
// line is the title, and chapters that Go makes. A chapter without content is left out.
func sections() []string {
	return []string{
		"summary", "request", "proof", pathSection, resultsSection, "workarounds", "commands", gatewaySections, "history", "limits", probesSection,
	}
}

// The sections that have more than a template of texts/sections.
const (
	pathSection     = "path"
	resultsSection  = "results"
	gatewaySections = "gateways"
	probesSection   = "probes"
)

// page makes the whole page. Without a diagnosis the results alone are of interest in brief.
func (d *document) page(brief bool) (page, error) {
	p := page{name: untrusted.Line(d.name()), result: d.result(), fault: d.Fails(diagnosis.Warning) && !d.Doubtful()}
	names := sections()
	if brief && len(d.Diagnoses) == 0 {
		names = []string{resultsSection}
	}
	for _, name := range names {
		chapters, err := d.section(name)
		if err != nil {
			return page{}, err
		}
		for _, c := range chapters {
			if len(c.blocks) > 0 {
				p.chapters = append(p.chapters, c)
			}
		}
	}
	return p, nil
}

// section renders one section: a chapter, or one for each kind of gateway.
func (d *document) section(name string) (out []chapter, err error) {
	if name == gatewaySections {
		for _, kind := range d.GatewayTypes {
			c, err := d.chapter("gateways/" + kind)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
		return out, nil
	}
	c, err := d.chapter("sections/" + name)
	if err != nil {
		return nil, err
	}
	switch name {
	case pathSection:
		if hops := d.path(); len(hops) > 0 {
			c.blocks = append(c.blocks, block{pairs: hops})
		}
	case resultsSection:
		c.blocks = append([]block{{pairs: d.Lines()}}, c.blocks...)
		if len(d.Lines()) == 0 {
			c.blocks = c.blocks[1:]
		}
	case probesSection:
		if rows := d.probes(); len(rows) > 1 {
			c.blocks = append(c.blocks, block{table: rows})
		}
	}
	return []chapter{c}, nil
}

// chapter renders a template.
func (d *document) chapter(name string) (chapter, error) {
	text, err := render(name, d)
	if err != nil {
		return chapter{}, err
	}
	title, body, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	return chapter{strings.TrimPrefix(title, "# "), parse(body)}, nil
}

// comparison is the page about the same measurement via several ways.
func comparison(ways []*document) page {
	p := page{name: untrusted.Line(ways[0].Peer), result: "comparison"}
	p.chapters = []chapter{{title: "Summary", blocks: []block{{paragraph: ways[0].Comparison}, {table: sideBySide(ways), grid: true}}}}
	for _, d := range ways {
		p.fault = p.fault || d.Fails(diagnosis.Warning)
	}
	return p
}

// pages makes the page of each report, and before the reports of one peer via several ways their
// comparison.
func pages(reports []*Report, brief bool) (out []page, err error) {
	documents, err := conclude(reports)
	if err != nil {
		return nil, err
	}
	for _, ways := range byPeer(documents) {
		if len(ways) > 1 {
			out = append(out, comparison(ways))
		}
		for _, d := range ways {
			p, err := d.page(brief)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	for i := range out {
		out[i].clean()
	}
	return out, nil
}

// clean replaces hidden characters: names, and texts of gateways and of the system, may be anywhere
// on a page.
func (p *page) clean() {
	texts := func(all []string) {
		for i := range all {
			all[i] = untrusted.Visible(all[i])
		}
	}
	p.name, p.result = untrusted.Visible(p.name), untrusted.Visible(p.result)
	for i := range p.chapters {
		c := &p.chapters[i]
		c.title = untrusted.Visible(c.title)
		for j := range c.blocks {
			b := &c.blocks[j]
			b.paragraph = untrusted.Visible(b.paragraph)
			texts(b.list)
			texts(b.code)
			for k := range b.pairs {
				b.pairs[k].Label, b.pairs[k].Text = untrusted.Visible(b.pairs[k].Label), untrusted.Visible(b.pairs[k].Text)
			}
			for _, row := range b.table {
				texts(row)
			}
		}
	}
}

// Window is the time in which the results of the report were measured.
func (r *Report) Window() string {
	end := r.Started.Add(r.Took)
	if from, to := diagnosis.Clock(r.Started), diagnosis.Clock(end); from != to {
		return fmt.Sprintf("%s to %s", from, to)
	}
	return diagnosis.Clock(end)
}
