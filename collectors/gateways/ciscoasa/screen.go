package ciscoasa

import (
	"regexp"
	"strings"
)

// screen turns the output of a device into the lines that a terminal would show, without trailing
// blanks. Devices end lines with "\r\n", "\r\r\n", "\n\r" and more, erase "<--- More --->" by
// blanks between two "\r", and the echo by backspaces: each has the effect that it has on a
// terminal.
func screen(raw string) []string {
	var t terminal
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '\n':
			t.flush()
		case '\r':
			t.column = 0
		case '\b':
			t.column = max(0, t.column-1)
		case 0x1b: // An escape sequence (ECMA-48, section 5.4) ends with a byte from 0x40 on.
			i += escape(raw[i:])
		case 0, 0x07:
		default:
			t.put(c)
		}
	}
	if len(t.line) > 0 {
		t.flush()
	}
	return t.lines
}

// A terminal has one line that is being written, and the lines above it.
type terminal struct {
	lines  []string
	line   []byte
	column int
}

func (t *terminal) put(c byte) {
	if t.column < len(t.line) {
		t.line[t.column] = c
	} else {
		t.line = append(t.line, c)
	}
	t.column++
}

func (t *terminal) flush() {
	t.lines = append(t.lines, strings.TrimRight(string(t.line), " \t"))
	t.line, t.column = t.line[:0], 0
}

// escape is how many bytes of an escape sequence follow its first.
func escape(s string) int {
	if len(s) < 2 || s[1] != '[' {
		return min(1, len(s)-1)
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= 0x40 {
			return i
		}
	}
	return len(s) - 1
}

// Lines that are not part of an answer: the pager's, and log messages to all terminals.
var (
	pagerLine = regexp.MustCompile(`<--- More --->|^ ?-- ?More ?-- ?`)
	logLine   = regexp.MustCompile(`^\*?(?:\w{3} +\d+ [\d:.]+: )?%[A-Z][A-Z0-9_]*-\d-\w+:`)
	// noise carries no fact in any output: rulers, and the first line of FTD and IOS.
	noise = regexp.MustCompile(`^[\s-]*$`)
)

// answerLines returns the lines of an answer, without pager and log messages.
func answerLines(raw string) []string {
	lines := screen(raw)
	kept := lines[:0]
	for _, l := range lines {
		if at := pagerLine.FindStringIndex(l); at != nil {
			l = strings.TrimLeft(l[:at[0]]+l[at[1]:], " ")
		}
		if !logLine.MatchString(l) {
			// Not of a device, but of outputs that were pasted from a web page.
			kept = append(kept, strings.ReplaceAll(l, "\u00a0", " "))
		}
	}
	return kept
}

// refusal matches the message that a device prints instead of an answer.
var refusal = regexp.MustCompile(`^\s*(?:ERROR: .*|% ?(?:Invalid|Incomplete|Ambiguous|Unknown|Unrecognized|Bad).*|(?:ERROR: )?Command authorization failed.*|` +
	`Authorization failed.*|Permission denied.*|Syntax error.*)$`)

// refused returns the message that a device prints instead of an answer, "" if it answers. Such a
// message comes first, or after a line with "^" below the word that was not understood.
func refused(lines []string) string {
	seen := 0
	for _, l := range lines {
		if strings.Trim(l, " ^") == "" {
			continue
		}
		if refusal.MatchString(l) {
			return strings.TrimSpace(l)
		}
		if seen++; seen == 2 {
			break
		}
	}
	return ""
}

// A lineRule reads one form of line into a record; m are the groups of its expression.
type lineRule[T any] struct {
	line *regexp.Regexp
	read func(to T, m []string)
}

// readLine applies the first rule that matches and reports whether there is one.
func readLine[T any](rules []lineRule[T], to T, line string) bool {
	for _, r := range rules {
		if m := r.line.FindStringSubmatch(line); m != nil {
			r.read(to, m)
			return true
		}
	}
	return false
}
