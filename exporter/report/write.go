package report

import (
	"bytes"
	"io"
)

// WriteText writes reports for a terminal, in lines of at most 80 columns: without a fault the
// results alone.
func WriteText(w io.Writer, reports []*Report) error {
	return write(w, reports, true, func(b *bytes.Buffer, all []page) error {
		for i := range all {
			separate(b)
			all[i].text(b)
		}
		return nil
	})
}

// WriteMarkdown writes reports for a ticket.
func WriteMarkdown(w io.Writer, reports []*Report) error {
	return write(w, reports, false, func(b *bytes.Buffer, all []page) error {
		for i := range all {
			separate(b)
			all[i].markdown(b)
		}
		return nil
	})
}

// WriteHTML writes reports as a file for a browser, to read or to print.
func WriteHTML(w io.Writer, reports []*Report) error {
	return write(w, reports, false, func(b *bytes.Buffer, all []page) error { return writeHTML(b, all) })
}

// write writes reports completely, or nothing where that fails.
func write(w io.Writer, reports []*Report, brief bool, form func(b *bytes.Buffer, all []page) error) error {
	all, err := pages(reports, brief)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := form(&b, all); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

func separate(b *bytes.Buffer) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
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
		"html":     {"text/html; charset=utf-8", WriteHTML},
		"json":     {"application/json", WriteJSON},
	}
}
