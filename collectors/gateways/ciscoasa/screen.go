package ciscoasa

import (
	"context"
	"iter"
	"regexp"
	"strings"
)

// screen turns the output of a device into the lines that a terminal would show, without trailing
// blanks. Devices end lines with "\r\n", "\r\r\n", "\n\r" and more, erase "<--- More --->" by
// blanks between two "\r", and the echo by backspaces: each has the effect that it has on a
// terminal.
func screen(raw string) iter.Seq[string] {
	return func(yield func(string) bool) {
		var t terminal
		for i := 0; i < len(raw); i++ {
			if raw[i] == '\n' {
				if !yield(t.flush()) {
					return
				}
				continue
			}
			i += t.write(raw[i:])
		}
		if len(t.line) > 0 {
			yield(t.flush())
		}
	}
}

// write takes the first byte of an output, and returns how many bytes belong to it.
func (t *terminal) write(raw string) (further int) {
	switch c := raw[0]; c {
	case '\r':
		t.column = 0
	case '\b':
		t.column = max(0, t.column-1)
	case 0x1b: // An escape sequence (ECMA-48, section 5.4) ends with a byte from 0x40 on.
		return escape(raw)
	case 0, 0x07:
	default:
		t.put(c)
	}
	return 0
}

// A terminal has one line that is being written.
type terminal struct {
	line   []byte
	column int
}

// maxLine is the most that is kept of a line, in bytes. No output of a device has a longer one.
const maxLine = 4096

func (t *terminal) put(c byte) {
	switch {
	case t.column < len(t.line):
		t.line[t.column] = c
	case len(t.line) >= maxLine:
		return
	default:
		t.line = append(t.line, c)
	}
	t.column++
}

func (t *terminal) flush() string {
	line := strings.TrimRight(string(t.line), " \t")
	t.line, t.column = t.line[:0], 0
	return line
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

// linesBetween is the number of lines that are parsed between two looks at the deadline.
const linesBetween = 64

// answerLines returns the lines of an answer, without pager and log messages. It ends with the context:
// a device can send more than can be parsed in time.
func answerLines(ctx context.Context, raw string) iter.Seq[string] {
	return func(yield func(string) bool) {
		n := 0
		for l := range screen(raw) {
			if n++; n%linesBetween == 0 && ctx.Err() != nil {
				return
			}
			if at := pagerLine.FindStringIndex(l); at != nil {
				l = strings.TrimLeft(l[:at[0]]+l[at[1]:], " ")
			}
			// Not of a device, but of outputs that were pasted from a web page.
			if !logLine.MatchString(l) && !yield(strings.ReplaceAll(l, "\u00a0", " ")) {
				return
			}
		}
	}
}

// refusal matches the message that a device prints instead of an answer.
var refusal = regexp.MustCompile(`^\s*(?:ERROR: .*|% ?(?:Invalid|Incomplete|Ambiguous|Unknown|Unrecognized|Bad).*|(?:ERROR: )?Command authorization failed.*|` +
	`Authorization failed.*|Permission denied.*|Syntax error.*)$`)

// refused returns the message that a device prints instead of an answer, "" if it answers. Such a
// message comes first, or after a line with "^" below the word that was not understood.
func refused(lines iter.Seq[string]) string {
	seen := 0
	for l := range lines {
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
