package exporter

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// promtool lets Prometheus's own linter look at a page.
func promtool(t *testing.T, page []byte) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("promtool is required: %v", err)
		}
		t.Logf("SKIPPED promtool check metrics: %v", err)
		return
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
