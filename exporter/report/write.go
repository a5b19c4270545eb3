package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

// WriteText writes reports for a terminal: a line for each result, and sections about faults.
func WriteText(w io.Writer, reports []*Report) error {
	return write(w, reports, textWays, (*document).text)
}

// WriteMarkdown writes reports with all sections, for a ticket.
func WriteMarkdown(w io.Writer, reports []*Report) error {
	return write(w, reports, markdownWays, (*document).markdown)
}

// write writes each report, and before the reports of one peer via several ways their comparison.
func write(w io.Writer, reports []*Report, side func(*bytes.Buffer, []*document) error, one func(*document, *bytes.Buffer) error) error {
	documents, err := conclude(reports)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, ways := range byPeer(documents) {
		if len(ways) > 1 {
			separate(&b)
			if err := side(&b, ways); err != nil {
				return err
			}
		}
		for _, d := range ways {
			separate(&b)
			if err := one(d, &b); err != nil {
				return err
			}
		}
	}
	_, err = w.Write(b.Bytes())
	return err
}

func separate(b *bytes.Buffer) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
}

func (d *document) text(w *bytes.Buffer) error {
	fmt.Fprintln(w, d.name()+": "+d.result())
	for _, l := range d.Lines() {
		fmt.Fprintf(w, "  %-16s %s\n", l.Label, l.Text)
	}
	for i := range d.Diagnoses {
		fmt.Fprintf(w, "\n  %s (%s): %s\n", d.Diagnoses[i].Name, d.Diagnoses[i].Severity, d.Diagnoses[i].Summary)
		for _, e := range d.Diagnoses[i].Evidence {
			fmt.Fprintf(w, "    - %s\n", e)
		}
	}
	fmt.Fprintf(w, "\n  measured %s, took %.1f s\n", diagnosis.Clock(d.Started), d.Took.Seconds())
	if len(d.Diagnoses) == 0 {
		return nil
	}
	chapters, err := d.chapters()
	for i := range chapters {
		chapters[i].text(w)
	}
	return err
}

func (d *document) markdown(w *bytes.Buffer) error {
	fmt.Fprintf(w, "# Path to %s: %s\n", markdown(untrusted.Line(d.name())), d.result())
	if t := d.Tunnel; t != nil {
		fmt.Fprintf(w, "\nRecommended tunnel settings: MTU %d, TCP MSS %d (%s, %s).\n", t.MTUBytes, t.MSSBytes, markdown(t.Cipher.Name), esp(t.UDP))
	}
	chapters, err := d.chapters()
	for i := range chapters {
		chapters[i].markdown(w)
	}
	return err
}

func textWays(w *bytes.Buffer, ways []*document) error {
	wrap(w, untrusted.Line(ways[0].Peer)+": ", "  ", ways[0].Comparison)
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range sideBySide(ways) {
		fmt.Fprintln(t, "  "+strings.Join(row, "\t"))
	}
	return t.Flush()
}

func markdownWays(w *bytes.Buffer, ways []*document) error {
	fmt.Fprintf(w, "# Path to %s: comparison\n\n%s\n\n", markdown(untrusted.Line(ways[0].Peer)), markdown(ways[0].Comparison))
	markdownTable(w, sideBySide(ways))
	return nil
}

// A Format is a form of reports.
type Format struct {
	MediaType string
	Write     func(w io.Writer, reports []*Report) error
}

// Formats returns all formats by name.
func Formats() map[string]Format {
	return map[string]Format{
		"text":     {"text/plain; charset=utf-8", WriteText},
		"markdown": {"text/markdown; charset=utf-8", WriteMarkdown},
		"json":     {"application/json", WriteJSON},
	}
}
