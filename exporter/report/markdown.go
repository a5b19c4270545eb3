package report

import (
	"fmt"
	"io"
	"strings"
)

// markdown writes the page for a ticket. Paragraphs are lines: some trackers keep line breaks.
func (p *page) markdown(w io.Writer) {
	fmt.Fprintf(w, "# Path to %s: %s\n", markdown(p.name), markdown(p.result))
	for i := range p.chapters {
		c := &p.chapters[i]
		fmt.Fprintf(w, "\n## %s\n", markdown(c.title))
		for j := range c.blocks {
			fmt.Fprintln(w)
			c.blocks[j].markdown(w)
		}
	}
}

func (b *block) markdown(w io.Writer) {
	switch {
	case b.paragraph != "":
		fmt.Fprintln(w, markdown(b.paragraph))
	case b.table != nil:
		markdownTable(w, b.table)
	case b.code != nil:
		code := strings.Join(b.code, "\n")
		fence := "```"
		for strings.Contains(code, fence) { // a name may end the code
			fence += "`"
		}
		fmt.Fprintf(w, "%stext\n%s\n%s\n", fence, code, fence)
	}
	for i, item := range b.list {
		if b.first > 0 {
			fmt.Fprintf(w, "%d. %s\n", b.first+i, markdown(item))
		} else {
			fmt.Fprintf(w, "- %s\n", markdown(item))
		}
	}
	for _, p := range b.pairs {
		fmt.Fprintf(w, "- %s: %s\n", markdown(p.Label), markdown(p.Text))
	}
}

func markdownTable(w io.Writer, rows [][]string) {
	for i, row := range rows {
		cells := make([]string, len(row))
		for j, cell := range row {
			cells[j] = strings.ReplaceAll(markdown(cell), "|", `\|`)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

// markdown escapes the characters of Markdown outside code, and a backtick without its partner.
func markdown(s string) string {
	escape := strings.NewReplacer(`\`, `\\`, "*", `\*`, "<", `\<`, "[", `\[`, "]", `\]`)
	var b strings.Builder
	for _, s := range spans(s) {
		if s.Code {
			b.WriteString("`" + s.Text + "`")
			continue
		}
		b.WriteString(strings.ReplaceAll(escape.Replace(s.Text), "`", "\\`"))
	}
	return b.String()
}

// A span is a part of a sentence, code or not.
type span struct {
	Text string
	Code bool
}

// spans divides a sentence at its backticks. One without a partner is text.
func spans(s string) (out []span) {
	parts := strings.Split(s, "`")
	for i, part := range parts {
		code := i%2 == 1
		if code && i == len(parts)-1 {
			part, code = "`"+part, false
		}
		if part != "" {
			out = append(out, span{part, code})
		}
	}
	return out
}
