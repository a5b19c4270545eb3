package check

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
)

// Colours of verdicts (ECMA-48, SGR), as on the boards: unknown has none.
const (
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	green  = "\x1b[1;32m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// coloured reports whether verdicts are coloured: on a terminal that can, unless the user says no
// (no-color.org).
func coloured(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// colour is that of a report's verdict.
func colour(r *report.Report) string {
	switch {
	case r.Fails(diagnosis.Critical):
		return red
	case r.Fails(diagnosis.Warning):
		return yellow
	case r.Healthy && r.Measured:
		return green
	}
	return bold
}

// writeColoured writes the text of reports, with the verdicts in colour: the first line of each.
func writeColoured(out io.Writer, reports []*report.Report) error {
	var all bytes.Buffer
	if err := report.WriteText(&all, reports); err != nil {
		return err
	}
	text := all.String()
	for _, r := range reports {
		var one strings.Builder
		if err := report.WriteText(&one, []*report.Report{r}); err != nil {
			return err
		}
		verdict, _, _ := strings.Cut(one.String(), "\n")
		text = strings.Replace(text, verdict+"\n", colour(r)+verdict+plain+"\n", 1)
	}
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}
