package report

import (
	"embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

//go:embed texts
var files embed.FS

// texts are all templates: a malformed one ends the program, and every test, at its start.
var texts = template.Must(template.New("").Option("missingkey=error").Funcs(template.FuncMap{
	"foreign": untrusted.Line, "clock": diagnosis.Clock, "word": shellWord, "list": func(all ...any) []any { return all },
}).ParseFS(files, "texts/*.md.tmpl", "texts/advice/*.tmpl", "texts/sections/*.tmpl", "texts/gateways/*.tmpl"))

// render executes the template of a file in texts, named without its ending.
func render(name string, data any) (string, error) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	var b strings.Builder
	if err := texts.ExecuteTemplate(&b, base+".md.tmpl", data); err != nil {
		return "", fmt.Errorf("text %s: %w", name, err)
	}
	return b.String(), nil
}

// numbered matches the first line of an item of a numbered list.
var numbered = regexp.MustCompile(`^(\d+)\. (.*)$`)

// parse reads the Markdown of the templates: paragraphs, lists whose items start with "- " or with
// a number, and code between lines of three backticks; commands of a shell after "```sh". A line
// break inside a paragraph or an item is a space.
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
		item, first, isItem := listItem(words)
		switch {
		case strings.HasPrefix(line, "```"):
			if code = !code; code {
				add(block{code: []string{}, shell: line == "```sh"})
				continue
			}
			open.code = tidy(open.code, open.shell)
			open = nil
		case code:
			open.code = append(open.code, line)
		case words == "":
			open = nil
		case isItem && open != nil && open.list != nil:
			open.list = append(open.list, item)
		case isItem:
			add(block{list: []string{item}, first: first})
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

// listItem returns the words of an item of a list, and its number, 0 for a list without numbers.
func listItem(words string) (item string, number int, ok bool) {
	if item, ok = strings.CutPrefix(words, "- "); ok {
		return item, 0, true
	}
	if m := numbered.FindStringSubmatch(words); m != nil {
		number, err := strconv.Atoi(m[1])
		return m[2], number, err == nil
	}
	return "", 0, false
}

// tidy drops empty lines at both ends of code, and folds the commands of a shell.
func tidy(code []string, shell bool) (out []string) {
	for line := range strings.SplitSeq(strings.Trim(strings.Join(code, "\n"), "\n"), "\n") {
		if shell {
			out = append(out, fold(line)...)
			continue
		}
		out = append(out, line)
	}
	return out
}

// fold divides a comment or a command of a shell so that each line has at most codeWidth columns,
// as far as blanks outside quotes and brackets allow.
func fold(line string) (out []string) {
	next, end := "  ", ` \`
	if strings.HasPrefix(line, "# ") {
		next, end = "# ", ""
	}
	for columns(line) > codeWidth {
		at := foldAt(line, codeWidth-len(end), end == "")
		if at < 0 {
			break
		}
		out = append(out, line[:at]+end)
		line = next + line[at+1:]
	}
	return append(out, line)
}

// foldAt returns the last blank at which a line can be divided, behind its indentation and at most
// limit bytes from its start, -1 without one.
func foldAt(line string, limit int, comment bool) int {
	at, depth, quoted := -1, 0, false
	for i, c := range []byte(line) {
		switch {
		case i > limit && at >= 0:
			return at
		case c == '\'' && !comment:
			quoted = !quoted
		case quoted:
		case c == '(' && !comment:
			depth++
		case c == ')' && !comment:
			depth--
		case c == ' ' && depth == 0 && i > len("# "):
			at = i
		}
	}
	return at
}
