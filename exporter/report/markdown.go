package report

import (
	"bytes"
	"fmt"
	"io"
)

// WriteMarkdown writes reports for a ticket: first what was found, then everything that the one who reads it has to know.
func WriteMarkdown(w io.Writer, reports []*Report) error {
	var b bytes.Buffer
	for _, ways := range byPeer(reports) {
		if len(ways) > 1 {
			separate(&b)
			fmt.Fprintf(&b, "# The way to %s, side by side\n\n%s\n\n", markdown(foreign(ways[0].Peer)), markdown(ways[0].Comparison))
			markdownTable(&b, sideBySide(ways))
		}
		for _, r := range ways {
			separate(&b)
			r.markdown(&b)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func separate(b *bytes.Buffer) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
}

func (r *Report) markdown(w io.Writer) {
	fmt.Fprintf(w, "# The way to %s: %s\n", markdown(foreign(r.title())), r.result())
	if t := r.Tunnel; t != nil {
		fmt.Fprintf(w, "\nA tunnel over it should have MTU %d and TCP MSS %d (%s, %s).\n", t.MTUBytes, t.MSSBytes, markdown(t.Cipher), encapsulations(t.Encapsulation))
	}
	for _, s := range r.words() {
		s.markdown(w, 2)
	}
}
