package report

import (
	"fmt"
	"io"
	"strings"
)

// sections are the chapters of a report in their order: templates in texts/sections whose first
// line is the title. A section without content is left out.
func sections() []string {
	return []string{probesSection, "conclusions", "request", "commands", "cisco", "workarounds", "history", "limits"}
}

// probesSection is the section with the table of probes behind its text.
const probesSection = "probes"

// A chapter is a rendered section.
type chapter struct {
	title  string
	blocks []block
}

// chapters renders the sections.
func (d *document) chapters() (out []chapter, err error) {
	for _, name := range sections() {
		text, err := render("sections/"+name, d)
		if err != nil {
			return nil, err
		}
		title, body, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
		c := chapter{strings.TrimPrefix(title, "# "), parse(body)}
		if name == probesSection {
			if rows := d.probes(); len(rows) > 1 {
				c.blocks = append(c.blocks, block{table: rows})
			}
		}
		if len(c.blocks) > 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

// width is the longest line of text for people.
const width = 110

// text writes the chapter for a terminal, indented.
func (c *chapter) text(w io.Writer) {
	fmt.Fprintf(w, "\n  %s\n", strings.ToUpper(c.title))
	for _, b := range c.blocks {
		switch {
		case b.paragraph != "":
			fmt.Fprintln(w)
			wrap(w, "    ", "    ", b.paragraph)
		case b.table != nil:
			fmt.Fprintln(w)
			items := b.table
			for _, row := range items[1:] {
				cells := make([]string, 0, len(row)-1)
				for i, cell := range row[1:] {
					cells = append(cells, strings.ToLower(items[0][i+1])+": "+cell)
				}
				wrap(w, "    - ", "      ", row[0]+". "+strings.Join(cells, "; "))
			}
		}
		for _, line := range b.code {
			fmt.Fprintln(w, strings.TrimRight("      "+line, " "))
		}
		for _, item := range b.list {
			wrap(w, "    - ", "      ", item)
		}
	}
}

// wrap writes words in lines of at most width, as far as words allow.
func wrap(w io.Writer, first, rest, words string) {
	line, empty := first, true
	for word := range strings.FieldsSeq(words) {
		switch {
		case empty:
			line += word
		case len([]rune(line))+1+len([]rune(word)) > width:
			fmt.Fprintln(w, line)
			line = rest + word
		default:
			line += " " + word
		}
		empty = false
	}
	fmt.Fprintln(w, line)
}

// markdown writes the chapter with a heading of level 2.
func (c *chapter) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n", markdown(c.title))
	for _, b := range c.blocks {
		fmt.Fprintln(w)
		switch {
		case b.paragraph != "":
			fmt.Fprintln(w, markdown(b.paragraph))
		case b.table != nil:
			markdownTable(w, b.table)
		case b.code != nil:
			fmt.Fprintf(w, "```text\n%s\n```\n", strings.Join(b.code, "\n"))
		}
		for _, item := range b.list {
			fmt.Fprintf(w, "- %s\n", markdown(item))
		}
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
	parts := strings.Split(s, "`")
	escape := strings.NewReplacer(`\`, `\\`, "*", `\*`, "<", `\<`, "[", `\[`, "]", `\]`)
	var b strings.Builder
	for i, part := range parts {
		switch {
		case i%2 == 0:
			b.WriteString(escape.Replace(part))
		case i == len(parts)-1:
			b.WriteString("\\`" + escape.Replace(part))
		default:
			b.WriteString("`" + part + "`")
		}
	}
	return b.String()
}
