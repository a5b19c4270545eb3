package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// A section is a part of a report in words. It is written once and comes out as text and as Markdown.
type section struct {
	title  string
	blocks []block
}

// A block is one piece of a section; one of its fields is set. Words between backticks are code.
type block struct {
	paragraph string
	list      []string
	code      []string
	table     [][]string // the first row is the head
}

func (s *section) say(format string, args ...any) {
	s.blocks = append(s.blocks, block{paragraph: fmt.Sprintf(format, args...)})
}

func (s *section) items(list ...string) {
	if len(list) > 0 {
		s.blocks = append(s.blocks, block{list: list})
	}
}

func (s *section) commands(lines ...string) { s.blocks = append(s.blocks, block{code: lines}) }

// foreign makes a string that was not written here harmless: one line, nothing that a terminal obeys or that is taken for code.
func foreign(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '`':
			return '\''
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s))
}

// width is how long a line of text for people may be.
const width = 110

// text writes the section for a terminal, indented.
func (s *section) text(w io.Writer) {
	fmt.Fprintf(w, "\n  %s\n", strings.ToUpper(s.title))
	for _, b := range s.blocks {
		switch {
		case b.paragraph != "":
			fmt.Fprintln(w)
			wrap(w, "    ", "    ", b.paragraph)
		case b.table != nil:
			fmt.Fprintln(w)
			rows(w, b.table)
		case b.code != nil:
			for _, line := range b.code {
				fmt.Fprintln(w, strings.TrimRight("      "+line, " "))
			}
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

// rows writes a table whose cells are too long to stand side by side: an item a row, with the words of the head.
func rows(w io.Writer, table [][]string) {
	head := table[0]
	for _, row := range table[1:] {
		cells := make([]string, 0, len(row)-1)
		for i, cell := range row[1:] {
			cells = append(cells, head[i+1]+" "+cell)
		}
		wrap(w, "    - ", "      ", row[0]+": "+strings.Join(cells, "; "))
	}
}

// grid writes an aligned table.
func grid(w io.Writer, indent string, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2))
		}
		fmt.Fprintln(w, indent+strings.TrimRight(line.String(), " "))
	}
}

// markdown writes the section under a heading of a level.
func (s *section) markdown(w io.Writer, level int) {
	fmt.Fprintf(w, "\n%s %s\n", strings.Repeat("#", level), markdown(s.title))
	for _, b := range s.blocks {
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

// markdown escapes what Markdown would take for its own, outside code. A backtick without its partner is escaped too.
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
