// Package untrusted makes text that a device, a peer or a file supplied safe to show.
//
// Such text can hold control characters that a terminal obeys, line breaks that forge a log line or
// a list entry, invalid UTF-8 that Prometheus refuses as a label value, and any number of bytes.
package untrusted

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden reports whether s has characters that a reader does not see and a terminal or browser obeys:
// controls, marks of the direction of writing, other formatting characters, and bytes that are no
// UTF-8.
func Hidden(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// Printable returns s with '?' in place of each character that is not printable.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// Visible returns s with '?' in place of each hidden character, other than tabs and line ends, which
// become blanks.
func Visible(s string) string {
	if !Hidden(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsGraphic(r):
			return '?'
		}
		return r
	}, s)
}

// Fit returns s as a line of a terminal: printable, and cut to a number of characters. 0 is no limit.
func Fit(s string, columns int) string {
	all := []rune(Printable(s))
	if columns > 0 && len(all) > columns {
		return string(all[:columns-1]) + "…"
	}
	return string(all)
}

// Word returns s trimmed, printable and at most limit bytes long, for a label value.
func Word(s string, limit int) string {
	s = Printable(strings.TrimSpace(s))
	return strings.ToValidUTF8(s[:min(len(s), limit)], "") // a character that is cut goes too
}

// Line returns s as one line without characters that are not printable, and without backticks,
// which would end a code span of Markdown.
func Line(s string) string {
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

// Clip returns a copy of at most limit bytes of s, as valid UTF-8 and with blanks in place of
// control characters. The copy does not keep the memory of a longer s.
func Clip(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "")
	return strings.Clone(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}
