package report

import (
	"fmt"
	"html/template"
	"io"
)

// layout is the HTML form: one file with its style in it, which loads nothing.
var layout = template.Must(template.New("page.html.tmpl").Option("missingkey=error").Funcs(template.FuncMap{
	"spans": spans,
}).ParseFS(files, "texts/page.html.tmpl"))

// The form of pages for the template.
type (
	htmlPage struct {
		Name, Result string
		Fault        bool
		Chapters     []htmlChapter
	}
	htmlChapter struct {
		Title  string
		Blocks []htmlBlock
	}
	htmlBlock struct {
		Paragraph string
		List      []string
		First     int
		Code      []string
		Pairs     []Line
		Head      []string
		Rows      [][]string
	}
)

// writeHTML writes pages as one document.
func writeHTML(w io.Writer, pages []page) error {
	out := make([]htmlPage, len(pages))
	for i := range pages {
		out[i] = pages[i].html()
	}
	if err := layout.Execute(w, out); err != nil {
		return fmt.Errorf("HTML: %w", err)
	}
	return nil
}

func (p *page) html() htmlPage {
	out := htmlPage{Name: p.name, Result: p.result, Fault: p.fault}
	for i := range p.chapters {
		c := htmlChapter{Title: p.chapters[i].title}
		for _, b := range p.chapters[i].blocks {
			one := htmlBlock{Paragraph: b.paragraph, List: b.list, First: b.first, Code: b.code, Pairs: b.pairs}
			if b.table != nil {
				one.Head, one.Rows = b.table[0], b.table[1:]
			}
			c.Blocks = append(c.Blocks, one)
		}
		out.Chapters = append(out.Chapters, c)
	}
	return out
}
