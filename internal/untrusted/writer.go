package untrusted

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Writer returns a writer for a terminal or a log. It writes hidden characters, other than tabs and line
// ends, as JSON escapes them: \u202e. A text in JSON stays the same text. A character must not be
// divided between two writes.
func Writer(w io.Writer) io.Writer { return &writer{w} }

type writer struct{ to io.Writer }

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if !bytes.ContainsFunc(p, escaped) {
		return w.to.Write(p)
	}
	var b bytes.Buffer
	for _, r := range string(p) {
		switch {
		case !escaped(r):
			b.WriteRune(r)
		case utf16.RuneLen(r) > 1:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if _, err := w.to.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escaped reports whether a character is hidden. What is no UTF-8 is read as utf8.RuneError.
func escaped(r rune) bool {
	return r != '\n' && r != '\t' && (r == utf8.RuneError || !unicode.IsGraphic(r))
}
