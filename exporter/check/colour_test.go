package check

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/report"
)

// TestColour: each verdict has the colour of its severity, and without the colours the text is the
// same.
func TestColour(t *testing.T) {
	addr := netip.MustParseAddr("203.0.113.10")
	found := func(name string, s diagnosis.Severity) []diagnosis.Held {
		return []diagnosis.Held{{Diagnosis: diagnosis.Diagnosis{Name: name, Severity: s, Summary: "It is so."}}}
	}
	reports := []*report.Report{
		{Peer: "well", Host: "203.0.113.10", Address: addr, Healthy: true, Measured: true},
		{Peer: "down", Host: "203.0.113.10", Address: addr, Measured: true, Diagnoses: found(diagnosis.PeerSilent, diagnosis.Critical)},
		{Peer: "lossy", Host: "203.0.113.10", Address: addr, Measured: true, Diagnoses: found(diagnosis.LossHigh, diagnosis.Warning)},
		{Peer: "new", Host: "203.0.113.10", Address: addr},
	}
	var want, got bytes.Buffer
	if err := report.WriteText(&want, reports); err != nil {
		t.Fatal(err)
	}
	if err := writeColoured(&got, reports); err != nil {
		t.Fatal(err)
	}
	text := got.String()
	for verdict, c := range map[string]string{"well (": green, "down (": red, "lossy (": yellow, "new (": bold} {
		if n := strings.Count(text, "\n"+c+verdict) + strings.Count(text[:len(c+verdict)], c+verdict); n != 1 {
			t.Errorf("%q is %d times in its colour:\n%q", verdict, n, text)
		}
	}
	for _, c := range []string{red, yellow, green, bold, plain} {
		text = strings.ReplaceAll(text, c, "")
	}
	if text != want.String() {
		t.Errorf("without colours:\n%s\nwant\n%s", text, want.String())
	}
}

// TestColoured: there are colours on a terminal only, and none where the user wants none.
func TestColoured(t *testing.T) {
	_, terminal := exportertest.Terminal(t)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if !coloured(terminal) || coloured(io.Discard) {
		t.Error("a terminal has no colours, or a file has")
	}
	t.Setenv("NO_COLOR", "1")
	if coloured(terminal) {
		t.Error("NO_COLOR is ignored")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if coloured(terminal) {
		t.Error("a dumb terminal gets colours")
	}
}
