package report

import (
	"embed"
	"fmt"
	"strings"
	"text/template"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

//go:embed texts
var files embed.FS

// texts are all templates: a malformed one ends the program, and every test, at its start.
var texts = template.Must(template.New("").Option("missingkey=error").Funcs(template.FuncMap{
	"foreign": untrusted.Line, "clock": diagnosis.Clock, "word": shellWord, "list": func(all ...string) []string { return all },
}).ParseFS(files, "texts/*.tmpl", "texts/advice/*.tmpl", "texts/sections/*.tmpl"))

// render executes the template of a file in texts, named without its ending.
func render(name string, data any) (string, error) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	var b strings.Builder
	if err := texts.ExecuteTemplate(&b, base+".md.tmpl", data); err != nil {
		return "", fmt.Errorf("text %s: %w", name, err)
	}
	return b.String(), nil
}

// A block is one piece of a text; one of its fields is set. Words between backticks are code.
type block struct {
	paragraph string
	list      []string
	code      []string
	table     [][]string // the first row is the head
}

// parse reads the Markdown of the templates: paragraphs, lists whose items start with "- ", and
// code between lines of three backticks. A line break inside a paragraph or an item is a space.
func parse(text string) (blocks []block) {
	var open *block
	code := false
	add := func(b block) {
		blocks = append(blocks, b)
		open = &blocks[len(blocks)-1]
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		words := paragraph(line)
		item, isItem := strings.CutPrefix(words, "- ")
		switch {
		case strings.HasPrefix(line, "```"):
			if code = !code; code {
				add(block{code: []string{}})
				continue
			}
			open.code = strings.Split(strings.Trim(strings.Join(open.code, "\n"), "\n"), "\n")
			open = nil
		case code:
			open.code = append(open.code, line)
		case words == "":
			open = nil
		case isItem && open != nil && open.list != nil:
			open.list = append(open.list, item)
		case isItem:
			add(block{list: []string{item}})
		case open != nil && open.list != nil:
			open.list[len(open.list)-1] += " " + words
		case open != nil:
			open.paragraph += " " + words
		default:
			add(block{paragraph: words})
		}
	}
	return blocks
}
