package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// width is the longest line of the text form, codeWidth of a line of code in it.
const (
	width     = 80
	codeWidth = width - len(codeIndent)
)

// Indentations of the text form.
const (
	bodyIndent = "  "
	codeIndent = "    "
	// labelWidth is the column of the texts behind labels.
	labelWidth = 17
)

// text writes the page for a terminal.
func (p *page) text(w io.Writer) {
	wrap(w, "", bodyIndent, p.name+": "+p.result)
	for i := range p.chapters {
		p.chapters[i].text(w)
	}
}

func (c *chapter) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", strings.ToUpper(c.title))
	for i := range c.blocks {
		fmt.Fprintln(w)
		c.blocks[i].text(w)
	}
}

func (b *block) text(w io.Writer) {
	switch {
	case b.paragraph != "":
		wrap(w, bodyIndent, bodyIndent, b.paragraph)
	case b.grid:
		writeGrid(w, b.table)
	case b.table != nil:
		head := b.table[0]
		for _, row := range b.table[1:] {
			cells := make([]string, 0, len(row)-1)
			for i, cell := range row[1:] {
				if cell != "" {
					cells = append(cells, strings.ToLower(head[i+1])+": "+cell)
				}
			}
			wrap(w, bodyIndent+"- ", bodyIndent+"  ", row[0]+". "+strings.Join(cells, "; "))
		}
	}
	for _, line := range b.code {
		fmt.Fprintln(w, strings.TrimRight(codeIndent+line, " "))
	}
	for i, item := range b.list {
		mark := "- "
		if b.first > 0 {
			mark = fmt.Sprintf("%d. ", b.first+i)
		}
		wrap(w, bodyIndent+mark, bodyIndent+strings.Repeat(" ", len(mark)), item)
	}
	for _, p := range b.pairs {
		label := fmt.Sprintf("%s%-*s", bodyIndent, labelWidth-1, p.Label)
		wrap(w, label+" ", strings.Repeat(" ", len(bodyIndent)+labelWidth), p.Text)
	}
}

// columns returns how many columns a text takes.
func columns(s string) int { return utf8.RuneCountInString(s) }

// wrap writes words in lines of at most width columns. A word that is longer than a line is
// divided.
func wrap(w io.Writer, first, rest, words string) {
	for _, line := range fill(first, rest, words, width) {
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// fill returns words in lines of at most limit columns, the first one behind first, the others
// behind rest.
func fill(first, rest, words string, limit int) (lines []string) {
	line, empty := first, true
	for word := range strings.FieldsSeq(words) {
		if !empty && columns(line)+1+columns(word) > limit {
			lines, line, empty = append(lines, line), rest, true
		}
		if !empty {
			line += " "
		}
		letters := []rune(word)
		for room := limit - columns(line); len(letters) > max(room, 1); room = limit - columns(line) {
			lines = append(lines, line+string(letters[:max(room, 1)]))
			letters, line = letters[max(room, 1):], rest
		}
		line, empty = line+string(letters), false
	}
	return append(lines, line)
}

// writeGrid writes a table with labels in its first column. Cells are wrapped where the table would
// be too wide.
func writeGrid(w io.Writer, rows [][]string) {
	widths := gridWidths(rows)
	for _, row := range rows {
		cells := make([][]string, len(row))
		height := 1
		for i, cell := range row {
			cells[i] = fill("", "", cell, widths[i])
			height = max(height, len(cells[i]))
		}
		for n := range height {
			var line strings.Builder
			for i, lines := range cells {
				part := ""
				if n < len(lines) {
					part = lines[n]
				}
				line.WriteString(bodyIndent + part + strings.Repeat(" ", max(0, widths[i]-columns(part))))
			}
			fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
		}
	}
}

// gridWidths returns the widths of the columns: as wide as their cells, and the widest ones
// narrower until all fit.
func gridWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], columns(cell))
		}
	}
	const least = 6
	for {
		total := 0
		for _, n := range widths {
			total += len(bodyIndent) + n
		}
		widest := slices.Max(widths)
		if total <= width || widest <= least {
			return widths
		}
		widths[slices.Index(widths, widest)]--
	}
}
