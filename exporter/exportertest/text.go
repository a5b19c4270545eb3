package exportertest

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// FirstScreen is the number of lines of text that a reader sees without scrolling.
const FirstScreen = 25

// Lines returns the text of a page as a text browser shows it: a line for each block and each row
// of a table, without style, choices of a form and what is folded away.
func Lines(tb testing.TB, page string) (out []string) {
	tb.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		tb.Fatal(err)
	}
	var line strings.Builder
	flush := func() {
		if s := strings.Join(strings.Fields(line.String()), " "); s != "" {
			out = append(out, s)
		}
		line.Reset()
	}
	blocks := map[atom.Atom]bool{
		atom.P: true, atom.H1: true, atom.H2: true, atom.H3: true, atom.Li: true, atom.Tr: true, atom.Div: true, atom.Section: true, atom.Br: true,
		atom.Form: true, atom.Header: true, atom.Summary: true, atom.Svg: true, atom.Footer: true,
	}
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			line.WriteString(n.Data)
			return
		}
		if slices.Contains([]string{"style", "title", "select", "svg"}, n.Data) {
			return
		}
		if blocks[n.DataAtom] {
			flush()
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			if n.DataAtom == atom.Details && !attribute(n, "open") && c.DataAtom != atom.Summary {
				continue
			}
			walk(c)
		}
		if n.DataAtom == atom.Td || n.DataAtom == atom.Th {
			line.WriteByte(' ')
		}
		if blocks[n.DataAtom] {
			flush()
		}
	}
	walk(root)
	flush()
	return out
}

func attribute(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
